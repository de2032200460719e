/* A read-only FUSE file system that shows a directory and follows a script: chosen calls on chosen
 * files are delayed, hang, are shortened or fail. For tests and benchmarks.
 *
 *     cc -O2 -Wall -Wextra -o scripted tests/fuse/scripted.c -lfuse3 -lpthread   (libfuse >= 3.14)
 *     scripted [-t SECONDS] [-n THREADS] SCRIPT SOURCE MOUNT_POINT
 *
 * It needs root, stays in the foreground, and does not list directories. -t: how long the kernel
 * may keep names and attributes (default 0: every look-up and every stat is a call); -n: calls
 * served at once (default 256).
 *
 * Each line of the script is a rule, `CALL NAME [@OFFSET+LENGTH] ACTION [times N]`; `#` begins a
 * comment.
 *
 *     CALL    lookup, getattr, open, read, flush, release, or * for all of them
 *     NAME    a shell pattern for the last component of the path, or for the whole path below
 *             SOURCE where the pattern contains a slash; the root directory is `/`
 *     @OFFSET+LENGTH
 *             only reads of at least one of these bytes; calls other than read never match. So a
 *             file system image in SOURCE gets bad blocks: see below
 *     ACTION  delay TIME     the call takes that long: 300us, 5ms, 2s
 *             hang           the call waits until the program receives SIGUSR1
 *             fail ERRNO     the call fails: EIO, ENFILE, ...
 *             short BYTES    a read returns no more than that; see `direct`
 *             direct         an open bypasses the page cache, which takes a short read for the
 *                            end of the file
 *     times N the rule applies to the first N calls that match, then no more
 *
 * All rules that match a call apply, in the order of the script, up to the first `fail`:
 *
 *     * * delay 5ms
 *     read slow-* hang
 *     open bad-* fail ENFILE times 3
 *     open part-* direct
 *     read part-* short 100
 *
 * SIGUSR1 releases the calls that hang at that moment. SIGUSR2 reads the script again; calls that
 * already hang or are delayed stay so, and a script with an error changes nothing. SIGTERM, SIGINT
 * and SIGHUP unmount and end the program at once, even while calls hang.
 *
 * It writes a line to standard output, which must be read or lead to /dev/null, for each event that
 * a test may wait for: `mounted`; `hangs CALL PATH`, each time a call begins to hang; `script N
 * rules`, or `script unchanged`, after SIGUSR2; `released N calls` after SIGUSR1.
 *
 * Bad blocks: an image in SOURCE is attached with `losetup --read-only --direct-io=on` and mounted
 * read-only. Direct I/O matters: without it the loop device has one thread, which would hang. Read
 * everything that has to stay readable once, and then start the faults with SIGUSR2:
 *
 *     read disk.ext4 @1228800+4096 hang
 *     read disk.ext4 @8192000+65536 fail EIO */

#define _GNU_SOURCE
#define FUSE_USE_VERSION 314

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { LOOKUP, GETATTR, OPEN, READ, FLUSH, RELEASE, ANY, CALLS };

static const char *const CALL_NAMES[] = {"lookup", "getattr", "open", "read", "flush", "release",
                                         "*"};

enum action { DELAY, HANG, FAIL, SHORT, DIRECT, ACTIONS };

static const char *const ACTION_NAMES[] = {"delay", "hang", "fail", "short", "direct"};

struct rule {
    enum call call;
    char *pattern;
    long long start, end; /* a read of at least one of these bytes */
    bool has_range;
    enum action action;
    long long value;   /* nanoseconds, an errno or bytes */
    atomic_llong left; /* the number of calls that it still applies to */
};

/* The result of the script for one call; its delays are over. */
struct verdict {
    int error;
    size_t longest;
    bool direct;
};

/* Never freed, because a call that hangs goes on using it. */
struct script {
    size_t count;
    struct rule *rules;
};

static const char *script_path;
static _Atomic(struct script *) script;

static pthread_mutex_t hang_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_over = PTHREAD_COND_INITIALIZER;
static unsigned long releases, hanging;

static int index_of(const char *word, const char *const *names, int count)
{
    int index = 0;
    while (index < count && strcmp(word, names[index]) != 0)
        index++;
    return index;
}

static int errno_of(const char *name)
{
    for (int number = 1; number < 134; number++)
        if (strerrorname_np(number) && strcmp(strerrorname_np(number), name) == 0)
            return number;
    return -1;
}

/* A number followed by UNIT, times FACTOR; -1 if WORD is not one. */
static long long number_of(const char *word, const char *unit, long long factor)
{
    char *end;
    long long number = strtoll(word, &end, 10);
    return end != word && number >= 0 && number <= 1000000000 && strcmp(end, unit) == 0
        ? number * factor : -1;
}

/* Reads `@OFFSET+LENGTH`; returns false if WORD is not that. */
static bool parse_range(const char *word, struct rule *rule)
{
    char *end, *start = strchr(word, '+');
    if (!start)
        return false;
    rule->start = strtoll(word + 1, &end, 10);
    if (end == word + 1 || end != start)
        return false;
    long long length = strtoll(start + 1, &end, 10);
    rule->has_range = true;
    return end != start + 1 && !*end && rule->start >= 0 && length > 0
        && !__builtin_add_overflow(rule->start, length, &rule->end);
}

static long long value_of(enum action action, const char *word)
{
    if (action != DELAY)
        return action == FAIL ? errno_of(word) : number_of(word, "", 1);
    long long us = number_of(word, "us", 1000), ms = number_of(word, "ms", 1000000);
    return us >= 0 ? us : ms >= 0 ? ms : number_of(word, "s", 1000000000);
}

/* Returns false if LINE is not a rule. */
static bool parse_rule(char *line, struct rule *rule)
{
    char *words[8], *rest = line;
    int count = 0;
    while (count < 8 && (words[count] = strtok_r(rest, " \t", &rest)))
        count++;
    *rule = (struct rule){.left = INT64_MAX};
    if (count > 4 && strcmp(words[count - 2], "times") == 0) {
        rule->left = number_of(words[count - 1], "", 1);
        count -= 2;
    }
    if (count > 3 && words[2][0] == '@') {
        if (!parse_range(words[2], rule))
            return false;
        memmove(&words[2], &words[3], (size_t)(--count - 2) * sizeof *words);
    }
    if (count < 3 || rule->left < 0)
        return false;
    rule->call = index_of(words[0], CALL_NAMES, CALLS);
    rule->action = index_of(words[2], ACTION_NAMES, ACTIONS);
    rule->pattern = strdup(words[1]);
    bool has_value = rule->action != HANG && rule->action != DIRECT;
    if (count != 3 + has_value || rule->call == CALLS || rule->action == ACTIONS)
        return false;
    rule->value = has_value ? value_of(rule->action, words[3]) : 0;
    return rule->pattern && rule->value >= 0;
}

/* Returns NULL, and prints the cause, if the script cannot be read. */
static struct script *read_script(void)
{
    struct script *new = calloc(1, sizeof *new);
    FILE *file = fopen(script_path, "re");
    if (!file || !new) {
        warn("%s", script_path);
        return NULL;
    }
    char line[4096];
    for (int number = 1; fgets(line, sizeof line, file); number++) {
        line[strcspn(line, "#\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0')
            continue;
        if (!(new->rules = reallocarray(new->rules, new->count + 1, sizeof *new->rules)))
            err(2, "%s", script_path);
        if (!parse_rule(line, &new->rules[new->count++])) {
            warnx("%s:%d: not a rule", script_path, number);
            fclose(file);
            return NULL;
        }
    }
    fclose(file);
    return new;
}

/* SIZE is 0 for calls other than read. */
static bool matches(const struct rule *rule, enum call call, const char *path, off_t offset,
                    size_t size)
{
    const char *last = strrchr(path, '/');
    const char *name = strchr(rule->pattern, '/') || !last ? path : last + 1;
    if (rule->has_range && (!size || offset >= rule->end || offset + (off_t)size <= rule->start))
        return false;
    return (rule->call == ANY || rule->call == call)
        && fnmatch(rule->pattern, *name ? name : "/", 0) == 0;
}

static void hang(enum call call, const char *path)
{
    pthread_mutex_lock(&hang_lock);
    hanging++;
    printf("hangs %s %s\n", CALL_NAMES[call], *path ? path : "/");
    for (unsigned long before = releases; before == releases;)
        pthread_cond_wait(&hang_over, &hang_lock);
    hanging--;
    pthread_mutex_unlock(&hang_lock);
}

/* Applies the rules to a call; returns once the delays are over. */
static struct verdict follow_range(enum call call, const char *path, off_t offset, size_t size)
{
    struct verdict verdict = {0, SIZE_MAX, false};
    struct script *current = script;
    for (size_t i = 0; i < current->count; i++) {
        struct rule *rule = &current->rules[i];
        if (!matches(rule, call, path, offset, size) || atomic_fetch_sub(&rule->left, 1) <= 0)
            continue;
        struct timespec delay = {rule->value / 1000000000, rule->value % 1000000000};
        switch (rule->action) {
        case DELAY: while (nanosleep(&delay, &delay) != 0) {} break;
        case HANG: hang(call, path); break;
        case FAIL: verdict.error = (int)rule->value; return verdict;
        case SHORT: verdict.longest = (size_t)rule->value; break;
        default: verdict.direct = true;
        }
    }
    return verdict;
}

static struct verdict follow(enum call call, const char *path)
{
    return follow_range(call, path, 0, 0);
}

/* Nodes: the kernel's inode number is the address of a node. They are never freed, so a stale
 * number cannot be followed into freed memory; the program lives as long as a test. */

struct node {
    struct node *next; /* in its bucket */
    dev_t device;      /* a path that leads to another file has another node */
    ino_t inode;
    char path[];       /* below SOURCE; "" is SOURCE itself */
};

static int source;
static double timeout_s;
static struct node *buckets[1 << 16];
static pthread_mutex_t nodes_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *path_of(fuse_ino_t number)
{
    return number == FUSE_ROOT_ID ? "" : ((struct node *)(uintptr_t)number)->path;
}

static int stat_path(const char *path, struct stat *attributes)
{
    int flags = AT_SYMLINK_NOFOLLOW | (*path ? 0 : AT_EMPTY_PATH);
    return fstatat(source, path, attributes, flags) == 0 ? 0 : errno;
}

/* The node of PATH, created if it is new; NULL if there is no memory. */
static struct node *node_of(const char *path, const struct stat *attributes)
{
    uint32_t hash = 2166136261;
    for (const char *byte = path; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619;
    struct node **bucket = &buckets[(hash ^ hash >> 16) & 0xffff];
    pthread_mutex_lock(&nodes_lock);
    struct node *node = *bucket;
    while (node && (node->device != attributes->st_dev || node->inode != attributes->st_ino
                    || strcmp(node->path, path) != 0))
        node = node->next;
    if (!node && (node = malloc(sizeof *node + strlen(path) + 1))) {
        *node = (struct node){*bucket, attributes->st_dev, attributes->st_ino};
        strcpy(node->path, path);
        *bucket = node;
    }
    pthread_mutex_unlock(&nodes_lock);
    return node;
}

static bool initialising;

static void fs_init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    initialising = true;
    /* Read-ahead counts as background work, of which the kernel allows 12 by default. */
    connection->max_background = 4096;
    connection->congestion_threshold = 4096;
}

static void fs_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    const char *folder = path_of(parent);
    char path[4096];
    if (snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name)
        >= (int)sizeof path) {
        fuse_reply_err(request, ENAMETOOLONG);
        return;
    }
    struct fuse_entry_param entry = {.attr_timeout = timeout_s, .entry_timeout = timeout_s};
    int error = follow(LOOKUP, path).error;
    if (!error)
        error = stat_path(path, &entry.attr);
    struct node *node = error ? NULL : node_of(path, &entry.attr);
    if (node) {
        entry.ino = (uintptr_t)node;
        fuse_reply_entry(request, &entry);
    } else {
        fuse_reply_err(request, error ? error : ENOMEM);
    }
}

static void fs_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)info;
    struct stat attributes;
    int error = follow(GETATTR, path_of(number)).error;
    if (!error)
        error = stat_path(path_of(number), &attributes);
    if (error)
        fuse_reply_err(request, error);
    else
        fuse_reply_attr(request, &attributes, timeout_s);
}

static void fs_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    struct verdict verdict = follow(OPEN, path_of(number));
    int file = -1;
    if (!verdict.error && (info->flags & O_ACCMODE) != O_RDONLY)
        verdict.error = EROFS;
    else if (!verdict.error)
        file = openat(source, path_of(number), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        fuse_reply_err(request, verdict.error ? verdict.error : errno);
        return;
    }
    info->fh = (uint64_t)file;
    info->direct_io = verdict.direct;
    if (fuse_reply_open(request, info) != 0)
        close(file); /* the caller is gone: no release will follow */
}

static void fs_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    struct verdict verdict = follow_range(READ, path_of(number), offset, size);
    size = size < verdict.longest ? size : verdict.longest;
    char *buffer = verdict.error ? NULL : malloc(size ? size : 1);
    ssize_t length = buffer ? pread((int)info->fh, buffer, size, offset) : -1;
    if (length < 0)
        fuse_reply_err(request, verdict.error ? verdict.error : errno);
    else
        fuse_reply_buf(request, buffer, (size_t)length);
    free(buffer);
}

static void fs_flush(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)info;
    fuse_reply_err(request, follow(FLUSH, path_of(number)).error);
}

static void fs_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    int error = follow(RELEASE, path_of(number)).error;
    close((int)info->fh);
    fuse_reply_err(request, error);
}

static const struct fuse_lowlevel_ops OPERATIONS = {
    .init = fs_init, .lookup = fs_lookup, .getattr = fs_getattr, .open = fs_open, .read = fs_read,
    .flush = fs_flush, .release = fs_release};

static struct fuse_session *session;
static const char *mount_point;
static sigset_t handled;

/* The kernel runs look-ups in one directory in parallel only if the reply to INIT has this flag,
 * which libfuse before 3.17 does not pass on. */
static ssize_t send_reply(int device, struct iovec *parts, int count, void *data)
{
    (void)data;
    if (initialising && count == 2)
        ((struct fuse_init_out *)parts[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
    initialising = false;
    return writev(device, parts, count);
}

static ssize_t receive(int device, void *buffer, size_t size, void *data)
{
    (void)data;
    return read(device, buffer, size);
}

static const struct fuse_custom_io DEVICE_IO = {.writev = send_reply, .read = receive};

/* Returns 0 on success. */
static int mount_session(void)
{
    char options[80];
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
             device);
    return device < 0 || fuse_session_custom_io(session, &DEVICE_IO, device) != 0
        || mount("scripted", mount_point, "fuse.scripted", MS_RDONLY | MS_NOSUID | MS_NODEV,
                 options) != 0;
}

static void release(void)
{
    pthread_mutex_lock(&hang_lock);
    releases++;
    printf("released %lu calls\n", hanging);
    pthread_cond_broadcast(&hang_over);
    pthread_mutex_unlock(&hang_lock);
}

static void read_script_again(void)
{
    struct script *new = read_script();
    if (new) {
        script = new;
        printf("script %zu rules\n", new->count);
    } else {
        printf("script unchanged\n");
    }
}

/* A thread of its own receives the signals, so that calls that hang cannot delay the end. */
static void *receive_signals(void *unused)
{
    for (int number; sigwait(&handled, &number) == 0;) {
        if (number == SIGUSR1)
            release();
        else if (number == SIGUSR2)
            read_script_again();
        else
            break;
    }
    umount2(mount_point, MNT_DETACH);
    _exit(0);
    return unused;
}

int main(int count, char **arguments)
{
    long long threads_max = 256;
    bool good = true;
    for (int option; (option = getopt(count, arguments, "t:n:")) != -1;) {
        if (option == 't')
            timeout_s = atof(optarg);
        else if (option != 'n' || (threads_max = number_of(optarg, "", 1)) < 1)
            good = false;
    }
    char **paths = arguments + optind;
    if (!good || count - optind != 3)
        errx(2, "usage: scripted [-t SECONDS] [-n THREADS] SCRIPT SOURCE MOUNT_POINT");
    script_path = paths[0];
    if (!(script = read_script()))
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    source = open(paths[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (source < 0)
        err(2, "%s", paths[1]);

    sigemptyset(&handled);
    sigaddset(&handled, SIGUSR1);
    sigaddset(&handled, SIGUSR2);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &handled, NULL);

    mount_point = paths[2];
    struct fuse_args no_options = FUSE_ARGS_INIT(1, arguments);
    session = fuse_session_new(&no_options, &OPERATIONS, sizeof OPERATIONS, NULL);
    if (!session || mount_session() != 0)
        err(1, "%s: cannot be mounted on", mount_point);
    pthread_t receiver;
    if (pthread_create(&receiver, NULL, receive_signals, NULL) != 0)
        errx(1, "cannot start a thread");
    printf("mounted\n");

    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, (unsigned int)threads_max);
    fuse_loop_cfg_set_idle_threads(config, (unsigned int)threads_max);
    int result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    umount2(mount_point, MNT_DETACH);
    return result == 0 ? 0 : 1;
}
