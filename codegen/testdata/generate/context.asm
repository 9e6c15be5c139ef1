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
       5:  goto +17 <L23>
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
      17:  if w1 == 71 goto +4 <L22>
      18:  if w1 < 1 goto +3 <L22>
      19:  if w1 >= -1 goto +2 <L22>
; rule default
      20:  w9 = 9
      21:  goto +1 <L23>
L22:
; rule wifi: context.hop:4:3
      22:  w9 = 0
L23:
      23:  w1 = w9
      24:  w1 >>= 3
      25:  *(u32 *)(r10 - 112) = r1
      26:  r1 = map[hopgate_counters]
      28:  r2 = r10
      29:  r2 += -112
      30:  call bpf_map_lookup_elem
      31:  if r0 == 0 goto +2 <L34>
      32:  r1 = 1
      33:  lock *(u64 *)(r0 + 0) += r1
L34:
      34:  w0 = w9
      35:  w0 &= 2
      36:  if w0 == 0 goto +1 <L38>
      37:  exit
L38:
      38:  w0 = w9
      39:  w0 &= 1
      40:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u16 *)(r6 + 40)
       2:  r1 = be16 r1
       3:  if w1 == 443 goto +2 <L6>
; rule default
       4:  w9 = 9
       5:  goto +17 <L23>
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
      17:  if w1 == 71 goto +4 <L22>
      18:  if w1 < 1 goto +3 <L22>
      19:  if w1 >= -1 goto +2 <L22>
; rule default
      20:  w9 = 9
      21:  goto +1 <L23>
L22:
; rule wifi: context.hop:4:3
      22:  w9 = 0
L23:
      23:  w1 = w9
      24:  w1 >>= 3
      25:  *(u32 *)(r10 - 112) = r1
      26:  r1 = map[hopgate_counters]
      28:  r2 = r10
      29:  r2 += -112
      30:  call bpf_map_lookup_elem
      31:  if r0 == 0 goto +2 <L34>
      32:  r1 = 1
      33:  lock *(u64 *)(r0 + 0) += r1
L34:
      34:  w0 = w9
      35:  w0 &= 2
      36:  if w0 == 0 goto +1 <L38>
      37:  exit
L38:
      38:  w0 = w9
      39:  w0 &= 1
      40:  exit
