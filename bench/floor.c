/* The floor: the least that a supervisor can do.  floor FIFO OUTPUT PROGRAM
 *
 * Spawns PROGRAM with its output appended to OUTPUT, waits in one poll(2) for its pidfd and for FIFO, spawns it
 * again when it ends, and sends it SIGHUP for each `h` read from FIFO, SIGTERM and its own end for `x`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc != 4)
        return 100;
    int control = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int output = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    char *words[] = {argv[3], NULL};
    if (control < 0 || output < 0)
        return 111;
    for (;;) {
        pid_t pid;
        if (posix_spawn(&pid, argv[3], &actions, NULL, words, environ))
            return 111;
        struct pollfd waiting[2] = {{control, POLLIN, 0}, {(int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0}};
        for (;;) {
            char letter;
            poll(waiting, 2, -1);
            if (waiting[1].revents) {
                waitpid(pid, NULL, 0);
                close(waiting[1].fd);
                break;
            }
            if (read(control, &letter, 1) != 1)
                continue;
            if (letter == 'h')
                kill(pid, SIGHUP);
            if (letter == 'x') {
                kill(pid, SIGTERM);
                waitpid(pid, NULL, 0);
                return 0;
            }
        }
    }
}
