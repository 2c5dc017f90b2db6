/* The supervised program of the benchmarks: tells the moment of its first instruction and of each SIGHUP.
 *
 * Both are written to descriptor 1, or to the file OUTPUT, as `start PID NANOSECONDS` and `signal PID NANOSECONDS`, on
 * the clock that Python's time.monotonic_ns() reads.  Linked statically, without the C library's start-up, so that what is
 * measured is the supervisor and not a dynamic linker.
 */
#include <asm/unistd.h>

#define SIGHUP 1
#define CLOCK_MONOTONIC 1

static long output = 1;

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static char *digits(char *at, unsigned long value)
{
    char text[24];
    int count = 0;
    do {
        text[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        *at++ = text[--count];
    return at;
}

static void tell(const char *what, int length)
{
    long now[2];
    char line[96], *at = line;
    call(__NR_clock_gettime, CLOCK_MONOTONIC, (long)now, 0, 0);
    while (length--)
        *at++ = *what++;
    at = digits(at, (unsigned long)call(__NR_getpid, 0, 0, 0, 0));
    *at++ = ' ';
    at = digits(at, (unsigned long)now[0] * 1000000000UL + (unsigned long)now[1]);
    *at++ = '\n';
    call(__NR_write, output, (long)line, at - line, 0);
}

static void on_signal(int number)
{
    (void)number;
    tell("signal ", 7);
}

__attribute__((naked)) static void restorer(void)
{
    __asm__ volatile("mov $15, %eax\n\tsyscall"); /* rt_sigreturn */
}

void _start(void)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {on_signal, 0x04000000 /* SA_RESTORER */, restorer, 0};
#ifdef OUTPUT
    output = call(__NR_open, (long)OUTPUT, 02001 /* O_WRONLY | O_APPEND */, 0, 0);
#endif
    tell("start ", 6);
    call(__NR_rt_sigaction, SIGHUP, (long)&action, 0, 8);
    for (;;)
        call(__NR_pause, 0, 0, 0, 0);
}
