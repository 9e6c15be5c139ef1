// A program for Linux, with libbpf's legacy map record: the same numbers mean other
// things there.
#include "sock_addr.h"

struct bpf_map_def {
    uint32_t type, key_size, value_size, max_entries, map_flags;
};

SEC("maps") struct bpf_map_def trie = {11, 8, 4, 16, 1}; // BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC
SEC("license") char _license[] = "GPL";

SEC("cgroup/sendmsg4") int send(void *ctx)
{
    uint64_t key = 32;
    return map_lookup(&trie, &key) == 0;
}
