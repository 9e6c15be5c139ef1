// The network context decides, and a caller that knows less of it than there is
// gets what it asked for.
#include "sock_addr.h"

static int judge(const struct network_context *c)
{
    if (c->interface_type == 24)
        return PROCEED_HARD;
    if (c->interface_type == 71 && c->tunnel_type == 0)
        return REJECT;
    return c->next_hop_interface_luid == 0x0006008005000000 && c->sub_interface_index == 3 ? PROCEED_SOFT : REJECT;
}

SEC("cgroup/connect_authorization4") int whole(struct sock_addr *ctx)
{
    struct network_context c;
    if (get_network_context(ctx, &c, sizeof(c)) < 0)
        return REJECT;
    return c.version == 1 ? judge(&c) : REJECT;
}

SEC("cgroup/connect_authorization6") int prefix(struct sock_addr *ctx)
{
    uint32_t type[2] = {~0u, ~0u};
    if (get_network_context(ctx, type, sizeof(type)) < 0)
        return REJECT;
    return type[1] == 24 ? PROCEED_HARD : PROCEED_SOFT;
}

// There is no network context at the redirect layer.
SEC("cgroup/connect4") int redirect(struct sock_addr *ctx)
{
    struct network_context c;
    return get_network_context(ctx, &c, sizeof(c)) < 0 ? PROCEED_SOFT : REJECT;
}
