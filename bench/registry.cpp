// SPDX-License-Identifier: Apache-2.0
//
// Rows and peers enter here by themselves, before main().
#include <algorithm>
#include <cstring>
#include <tuple>

#include "peer.h"
#include "row.h"

namespace {

std::vector<RowEntry> &rows()
{
    static std::vector<RowEntry> all;
    return all;
}

std::vector<Peer> &peers()
{
    static std::vector<Peer> all;
    return all;
}

} // namespace

RowRegister::RowRegister(const Row &row, CellsFunction cells)
{
    for (RowEntry &entry : rows())
        if (strcmp(entry.row.key, row.key) == 0) {
            entry.functions.push_back(cells);
            return;
        }
    rows().push_back({row, {cells}});
}

PeerRegister::PeerRegister(const Peer &peer) { peers().push_back(peer); }

std::vector<RowEntry> rows_all()
{
    std::vector<RowEntry> all = rows();
    std::sort(all.begin(), all.end(), [](const RowEntry &a, const RowEntry &b) {
        return std::make_tuple(a.row.order, std::string(a.row.key)) <
               std::make_tuple(b.row.order, std::string(b.row.key));
    });
    return all;
}

std::vector<Peer> peers_all()
{
    std::vector<Peer> all = peers();
    std::sort(all.begin(), all.end(), [](const Peer &a, const Peer &b) {
        return std::make_tuple(a.order, a.name) < std::make_tuple(b.order, b.name);
    });
    return all;
}

std::vector<Cell> row_cells(const RowEntry &entry, const Scale &scale)
{
    const std::vector<Peer> all = peers_all();
    const auto rank = [&](const Cell &cell) {
        for (size_t i = 0; i < all.size(); i++)
            if (all[i].name == cell.peer)
                return i + 1;
        return size_t{0};
    };
    std::vector<std::vector<Cell>> parts;
    for (const CellsFunction function : entry.functions) {
        parts.emplace_back();
        function(scale, parts.back());
    }
    std::vector<Cell> cells;
    for (const auto &part : parts)
        cells.insert(cells.end(), part.begin(), part.end());
    std::stable_sort(cells.begin(), cells.end(), [&](const Cell &a, const Cell &b) {
        const size_t ranks[2] = {rank(a), rank(b)};
        // Those of no peer are not in the order of the linker's, either.
        return ranks[0] != ranks[1] ? ranks[0] < ranks[1]
                                    : ranks[0] == 0 && a.peer < b.peer;
    });
    return cells;
}

std::string cell_name(const Row &row, const Cell &cell)
{
    const std::string params = params_text(cell.params);
    return std::string(row.key) + "/" + cell.peer + (params.empty() ? "" : "/" + params);
}
