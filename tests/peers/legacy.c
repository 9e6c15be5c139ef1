// A legacy maps section with records of eBPF for Windows: hash, LRU hash, LPM trie
// and a map of maps whose template is named by id.
#include "sock_addr.h"

SEC("maps") struct map_record seen = {LRU_HASH, sizeof(uint32_t), sizeof(uint64_t), 16};
SEC("maps") struct map_record ports = {HASH, sizeof(uint16_t), sizeof(uint32_t), 8};
SEC("maps") struct map_record networks = {LPM_TRIE, 8, sizeof(uint32_t), 8};
SEC("maps") struct map_record template = {ARRAY, sizeof(uint32_t), sizeof(uint32_t), 1, .id = 10};
SEC("maps") struct map_record tables = {ARRAY_OF_MAPS, sizeof(uint32_t), sizeof(uint32_t), 2, .id = 11, .inner_id = 10};

SEC("cgroup/connect_authorization4") int legacy(struct sock_addr *ctx)
{
    uint32_t ip = ctx->user_ip4;
    uint64_t one = 1, *count = map_lookup(&seen, &ip);
    if (count)
        ++*count;
    else
        map_update(&seen, &ip, &one, 0);

    uint16_t port = ctx->user_port;
    uint32_t *verdict = map_lookup(&ports, &port);
    if (verdict) {
        uint32_t v = *verdict;
        map_delete(&ports, &port);
        return v;
    }

    struct {
        uint32_t length, ip;
    } key = {32, ip};
    verdict = map_lookup(&networks, &key);
    if (verdict)
        return *verdict;

    uint32_t zero = 0;
    void *table = map_lookup(&tables, &zero);
    if (!table)
        return REJECT;
    verdict = map_lookup(table, &zero);
    return verdict ? *verdict : REJECT;
}
