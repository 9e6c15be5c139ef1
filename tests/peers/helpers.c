// Every helper that programs of the hook have writes what it gave to a map, by its
// number; but for those that tail_call.c, verdicts.c, redirect.c and network.c use.
#include "sock_addr.h"

struct {
    __uint(type, HASH);
    __type(key, uint32_t);
    __type(value, uint64_t);
    __uint(max_entries, 64);
} results SEC(".maps");

struct {
    __uint(type, QUEUE);
    __uint(key_size, 0);
    __type(value, uint64_t);
    __uint(max_entries, 2);
} queue SEC(".maps");

struct {
    __uint(type, STACK);
    __uint(key_size, 0);
    __type(value, uint64_t);
    __uint(max_entries, 2);
} stack SEC(".maps");

static NOINLINE void put(uint32_t helper, uint64_t value)
{
    map_update(&results, &helper, &value, 0);
}

static NOINLINE void of_process(struct sock_addr *ctx)
{
    put(8, get_smp_processor_id());
    put(19, get_current_pid_tgid());
    put(20, get_current_logon_id(ctx));
    put(21, is_current_admin(ctx));
    put(26, get_socket_cookie(ctx));
    put(33, get_current_process_start_key());
    put(34, get_current_thread_create_time());
}

static NOINLINE void of_time(void)
{
    uint64_t before = ktime_get_ns(), before_ms = ktime_get_ms();
    put(7, ktime_get_boot_ns() > 0);
    put(9, ktime_get_ns() >= before);
    put(30, ktime_get_boot_ms() >= before_ms);
    put(31, ktime_get_ms() >= before_ms);
    put(6, get_prandom_u32() == get_prandom_u32() && get_prandom_u32() == get_prandom_u32());
}

static NOINLINE void of_maps(void)
{
    uint32_t key = 99;
    put(key, 7);
    uint64_t *found = map_lookup_and_delete(&results, &key);
    put(4, found ? *found : 0);
    put(key, 1);
    put(3, map_delete(&results, &key));
    put(103, map_delete(&results, &key)); // there no longer

    uint64_t value = 1;
    map_push(&queue, &value, 0);
    map_push(&stack, &value, 0);
    value = 2;
    put(16, map_push(&queue, &value, 0) + map_push(&stack, &value, 0));
    put(116, map_push(&queue, &value, 0)); // full
    map_pop(&queue, &value);
    put(17, value);
    map_pop(&stack, &value);
    put(117, value);
    map_peek(&queue, &value);
    put(18, value);
}

static NOINLINE void of_memory(void)
{
    char text[8] = "abc", copy[8] = "";
    put(27, strncpy_s(copy, sizeof copy, text, sizeof text));
    put(28, strncat_s(copy, sizeof copy, text, sizeof text));
    put(128, strncat_s(copy, sizeof copy, text, sizeof text)); // no room
    put(29, strnlen_s(copy, sizeof copy));
    put(23, memcmp_s(copy, 3, text, 3));
    put(123, memcmp_s(copy, sizeof copy, text, 3)); // longer
    put(22, memcpy_s(copy, sizeof copy, text, 4));
    put(122, memcpy_s(copy, 3, text, 4)); // no room
    put(25, memmove_s(copy + 1, 7, copy, 4)); // aabc
    put(125, copy[1] == 'a' && copy[3] == 'c');
    put(24, set_memory(copy, sizeof copy, 'x') && copy[7] == 'x');
    put(10, csum_diff(0, 0, text, 4, 5)); // 5 + "ab" + "c"

    char one[] = "%u", two[] = "%u %u", three[] = "%u %u %u";
    put(12, trace_printk2(text, sizeof text));
    put(13, trace_printk3(one, sizeof one, 1));
    put(14, trace_printk4(two, sizeof two, 1, 2));
    put(15, trace_printk5(three, sizeof three, 1, 2, 3));
}

SEC("cgroup/connect_authorization4") int helpers(struct sock_addr *ctx)
{
    of_process(ctx);
    of_time();
    of_maps();
    of_memory();
    return PROCEED_SOFT;
}
