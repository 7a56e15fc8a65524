/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job that pauses once: the whole round that an event loop makes, in the
 * smallest form. The job tells somebody that it waits (here it wakes itself),
 * pauses, and goes on where it was.
 */
#include <jobswitch/jobswitch.h>
#include <poll.h>
#include <stdio.h>

static int greet(void *arg)
{
    jobswitch_job *self = jobswitch_get_current_job();

    puts(self ? "Executing within a job" : "Not within a job");
    printf("Passed in message is: %s\n", (const char *)arg);

    /* An event from outside would do this some time later, from any thread:
     * a wake that comes before the pause is not lost. */
    jobswitch_wake(self);
    jobswitch_pause_job();

    jobswitch_clear_wake(self);
    puts("Resumed the job after a pause");
    return 1;
}

/* Sleeps until the job has been woken. */
static int wait_for(jobswitch_job *job)
{
    struct pollfd wait = {jobswitch_get_wait_fd(job), POLLIN, 0};

    if (wait.fd < 0)
        return 0;
    puts("Waiting for the job to be woken up");
    return poll(&wait, 1, -1) == 1;
}

int main(void)
{
    const char message[] = "Hello world!";
    jobswitch_job *job = NULL;
    int value = 0;
    int answer;

    /* A pool of one job, which is made at once. */
    if (!jobswitch_init(1, 1, 1))
        goto failed;

    /* The job gets a copy of the message. To resume it, the same call again:
     * it takes job, and no notice of the rest. */
    while ((answer = jobswitch_start_job(&job, &value, greet, (void *)message,
                                         sizeof message)) == JOBSWITCH_PAUSE) {
        puts("Job was paused");
        if (!wait_for(job))
            goto failed;
    }
    if (answer != JOBSWITCH_FINISH)
        goto failed;
    printf("Job finished with return value %d\n", value);
    jobswitch_cleanup(1);
    return 0;

failed:
    fprintf(stderr, "error: %s\n", jobswitch_error_string(jobswitch_last_error()));
    jobswitch_cleanup(1);
    return 1;
}
