// Every helper that programs of the hook have writes what it gave to a map, by its
// number.
#include "sock_addr.h"

struct {
    __uint(type, HASH);
    __type(key, uint32_t);
    __type(value, uint64_t);
    __uint(max_entries, 64);
} results SEC(".maps");

static NOINLINE void put(uint32_t helper, uint64_t value)
{
    map_update(&results, &helper, &value, 0);
}

SEC("cgroup/connect_authorization4") int helpers(struct sock_addr *ctx)
{
    put(8, get_smp_processor_id());
    put(19, get_current_pid_tgid());
    put(20, get_current_logon_id(ctx));
    put(21, is_current_admin(ctx));
    put(26, get_socket_cookie(ctx));

    uint64_t before = ktime_get_ns();
    put(7, ktime_get_boot_ns() > 0);
    put(9, ktime_get_ns() >= before);
    put(6, get_prandom_u32() == get_prandom_u32() && get_prandom_u32() == get_prandom_u32());

    uint32_t key = 99;
    put(key, 1);
    put(3, map_delete(&results, &key));
    put(33, map_delete(&results, &key)); // there no longer
    return PROCEED_SOFT;
}
