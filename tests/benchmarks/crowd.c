/* Make a node full: argv[1] processes that only wait, until standard input ends. They die with their parent. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words) {
    int wanted = count > 1 ? atoi(words[1]) : 0;
    for (int i = 0; i < wanted; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("crowd: fork");
            return 1;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) pause();
        }
        printf("%d\n", child);
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
