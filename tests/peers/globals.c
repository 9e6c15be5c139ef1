// Global data: initialized, zero, and constants that a loader may change.
#include "sock_addr.h"

uint64_t calls;                                       // .bss
static uint64_t refused;                              // .bss
uint32_t ports[3] = {445, 139, 3389};                 // .data
static uint32_t limit = 2;                            // .data
const volatile uint32_t denied_protocol = 47;         // .rodata
static const uint8_t verdicts[16] = {2, 1, 0, 7, 2};  // .rodata

SEC("cgroup/connect_authorization4") int globals(struct sock_addr *ctx)
{
    __sync_fetch_and_add(&calls, 1);
    if (ctx->protocol == denied_protocol)
        return REJECT;
    for (int i = 0; i < 3; i++) {
        if (ctx->user_port != htons(ports[i]))
            continue;
        refused++;
        if (refused > limit)
            return REJECT;
        ports[i] = 0; // each is let pass once, while the limit lasts
        return PROCEED_SOFT;
    }
    return verdicts[ctx->compartment_id & 15];
}
