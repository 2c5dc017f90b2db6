/* A service that prints as fast as it can: writer SIZE COUNT REPORT writes COUNT times SIZE bytes, lines of at most 100,
   and then a line with the seconds that took, and its own seconds of processor time, to the file REPORT. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    long size = atol(argv[1]), count = atol(argv[2]);
    char *block = malloc(size), text[128];
    struct rusage use;
    signal(SIGPIPE, SIG_IGN);
    memset(block, 'x', size);
    for (long at = 99; at < size; at += 100)
        block[at] = '\n';
    block[size - 1] = '\n';
    double begun = now();
    for (long number = 0; number < count; number++)
        for (long done = 0; done < size;) {
            long written = write(1, block + done, size - done);
            if (written < 0) {
                perror("writer");
                return 1;
            }
            done += written;
        }
    double took = now() - begun;
    getrusage(RUSAGE_SELF, &use);
    snprintf(text, sizeof text, "%.6f %.6f\n", took,
             use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    int fd = open(argv[3], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (write(fd, text, strlen(text)) < 0)
        return 1;
    close(fd);
    for (;;)
        pause();
}
