; policy context, target windows
; map hopgate_counters: PerCPUArray, key 4, value 8, 2 entries

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  r1 = *(u16 *)(r6 + 40)
       2:  r1 = be16 r1
       3:  if w1 == 443 goto +2 <L6>
; rule default
       4:  w9 = 9
       5:  goto +18 <L24>
L6:
       6:  r1 = r6
       7:  r2 = r10
       8:  r2 += -32
       9:  r3 = 32
      10:  call bpf_sock_addr_get_network_context
      11:  if w0 == 0 goto +4 <L16>
      12:  *(u32 *)(r10 - 28) = 0
      13:  *(u64 *)(r10 - 16) = 0
      14:  *(u32 *)(r10 - 8) = 0
      15:  *(u32 *)(r10 - 24) = -1
L16:
      16:  r1 = *(u32 *)(r10 - 28)
      17:  if w1 < 1 goto +5 <L23>
      18:  if w1 < 71 goto +2 <L21>
      19:  if w1 < 72 goto +3 <L23>
      20:  if w1 >= -1 goto +2 <L23>
L21:
; rule default
      21:  w9 = 9
      22:  goto +1 <L24>
L23:
; rule wifi: context.hop:4:3
      23:  w9 = 0
L24:
      24:  w1 = w9
      25:  w1 >>= 3
      26:  *(u32 *)(r10 - 56) = r1
      27:  r1 = map[hopgate_counters]
      29:  r2 = r10
      30:  r2 += -56
      31:  call bpf_map_lookup_elem
      32:  if r0 == 0 goto +2 <L35>
      33:  r1 = 1
      34:  lock *(u64 *)(r0 + 0) += r1
L35:
      35:  w0 = w9
      36:  w0 &= 2
      37:  if w0 == 0 goto +1 <L39>
      38:  exit
L39:
      39:  w0 = w9
      40:  w0 &= 1
      41:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u16 *)(r6 + 40)
       2:  r1 = be16 r1
       3:  if w1 == 443 goto +2 <L6>
; rule default
       4:  w9 = 9
       5:  goto +18 <L24>
L6:
       6:  r1 = r6
       7:  r2 = r10
       8:  r2 += -32
       9:  r3 = 32
      10:  call bpf_sock_addr_get_network_context
      11:  if w0 == 0 goto +4 <L16>
      12:  *(u32 *)(r10 - 28) = 0
      13:  *(u64 *)(r10 - 16) = 0
      14:  *(u32 *)(r10 - 8) = 0
      15:  *(u32 *)(r10 - 24) = -1
L16:
      16:  r1 = *(u32 *)(r10 - 28)
      17:  if w1 < 1 goto +5 <L23>
      18:  if w1 < 71 goto +2 <L21>
      19:  if w1 < 72 goto +3 <L23>
      20:  if w1 >= -1 goto +2 <L23>
L21:
; rule default
      21:  w9 = 9
      22:  goto +1 <L24>
L23:
; rule wifi: context.hop:4:3
      23:  w9 = 0
L24:
      24:  w1 = w9
      25:  w1 >>= 3
      26:  *(u32 *)(r10 - 56) = r1
      27:  r1 = map[hopgate_counters]
      29:  r2 = r10
      30:  r2 += -56
      31:  call bpf_map_lookup_elem
      32:  if r0 == 0 goto +2 <L35>
      33:  r1 = 1
      34:  lock *(u64 *)(r0 + 0) += r1
L35:
      35:  w0 = w9
      36:  w0 &= 2
      37:  if w0 == 0 goto +1 <L39>
      38:  exit
L39:
      39:  w0 = w9
      40:  w0 &= 1
      41:  exit
