/* A service whose output can be checked: `counted write BYTES REPORT` writes lines of 16 bytes that count from 0, as fast
   as it can, and then to the file REPORT how many bytes that were and how many writes failed.  `counted check` reads such
   lines and tells how many bytes of them are right, from the first on, and whether that was all. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 16, SIZE = 65536 };

static char line[LINE + 1] = "000000000000000\n";

static void fill(char *block)
{
    for (int at = 0; at < SIZE; at += LINE) {
        memcpy(block + at, line, LINE);
        int digit = LINE - 2;
        while (line[digit] == '9')
            line[digit--] = '0';
        line[digit]++;
    }
}

static int check(void)
{
    static char block[SIZE], found[SIZE];
    long long right = 0;
    for (;;) {
        size_t size = fread(found, 1, SIZE, stdin), same = 0;
        fill(block);
        while (same < size && block[same] == found[same])
            same++;
        right += same;
        if (same < size || size < SIZE) {
            printf("%lld %s\n", right, same < size ? "wrong" : "all");
            return same < size;
        }
    }
}

int main(int argc, char **argv)
{
    static char block[SIZE];
    if (argc == 2 && !strcmp(argv[1], "check"))
        return check();
    long long wanted = atoll(argv[2]), done = 0, failed = 0;
    while (done < wanted) {
        fill(block);
        for (long at = 0; at < SIZE;) {
            long written = write(1, block + at, SIZE - at);
            if (written < 0) {
                failed++;
                perror("write");
                usleep(1000);
                continue;
            }
            at += written;
        }
        done += SIZE;
    }
    char text[64];
    int length = snprintf(text, sizeof text, "%lld %lld\n", done, failed);
    int fd = open(argv[3], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, length) != length)
        return 1;
    for (;;)
        pause();
}
