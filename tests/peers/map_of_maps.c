// A map of maps, by compartment, whose first map the object fills in.
#include "sock_addr.h"

struct verdicts {
    __uint(type, HASH);
    __type(key, uint32_t);
    __type(value, uint32_t);
    __uint(max_entries, 7);
};

struct verdicts first SEC(".maps");

struct {
    __uint(type, ARRAY_OF_MAPS);
    __type(key, uint32_t);
    __uint(max_entries, 7); // the number of the type, too
    __array(values, struct verdicts);
} by_compartment SEC(".maps") = {
    .values = {[0] = &first},
};

SEC("cgroup/connect_authorization4") int nested(struct sock_addr *ctx)
{
    uint32_t compartment = ctx->compartment_id, protocol = ctx->protocol;
    void *inner = map_lookup(&by_compartment, &compartment);
    if (!inner)
        return 7;
    uint32_t *verdict = map_lookup(inner, &protocol);
    return verdict ? *verdict : REJECT;
}
