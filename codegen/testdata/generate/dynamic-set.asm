; policy dynamic-set, target windows
; map set_blocked: LPMTrie, key 8, value 4, 65536 entries
; map set6_blocked: LPMTrie, key 20, value 4, 65536 entries

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  *(u32 *)(r10 - 56) = 32
       2:  r1 = *(u32 *)(r6 + 24)
       3:  *(u32 *)(r10 - 52) = r1
       4:  r1 = map[set_blocked]
       6:  r2 = r10
       7:  r2 += -56
       8:  call bpf_map_lookup_elem
       9:  if r0 == 0 goto +6 <L16>
      10:  r1 = *(u32 *)(r0 + 0)
      11:  if w1 != 0 goto +2 <L14>
; rule default
      12:  r0 = 1
      13:  exit
L14:
; rule blocked: dynamic-set.hop:5:3
      14:  r0 = 0
      15:  exit
L16:
      16:  r0 = 0
      17:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u64 *)(r6 + 24)
       2:  r1 = be64 r1
       3:  if r1 != 0 goto +3 <L7>
       4:  r1 = *(u32 *)(r6 + 32)
       5:  r1 = be32 r1
       6:  if w1 == 65535 goto +21 <L28>
L7:
       7:  *(u32 *)(r10 - 56) = 128
       8:  r1 = *(u32 *)(r6 + 24)
       9:  *(u32 *)(r10 - 52) = r1
      10:  r1 = *(u32 *)(r6 + 28)
      11:  *(u32 *)(r10 - 48) = r1
      12:  r1 = *(u32 *)(r6 + 32)
      13:  *(u32 *)(r10 - 44) = r1
      14:  r1 = *(u32 *)(r6 + 36)
      15:  *(u32 *)(r10 - 40) = r1
      16:  r1 = map[set6_blocked]
      18:  r2 = r10
      19:  r2 += -56
      20:  call bpf_map_lookup_elem
      21:  if r0 == 0 goto +21 <L43>
      22:  r1 = *(u32 *)(r0 + 0)
      23:  if w1 != 0 goto +2 <L26>
; rule default
      24:  r0 = 1
      25:  exit
L26:
; rule blocked: dynamic-set.hop:5:3
      26:  r0 = 0
      27:  exit
L28:
      28:  *(u32 *)(r10 - 56) = 32
      29:  r1 = *(u32 *)(r6 + 36)
      30:  *(u32 *)(r10 - 52) = r1
      31:  r1 = map[set_blocked]
      33:  r2 = r10
      34:  r2 += -56
      35:  call bpf_map_lookup_elem
      36:  if r0 == 0 goto +6 <L43>
      37:  r1 = *(u32 *)(r0 + 0)
      38:  if w1 != 0 goto +2 <L41>
; rule default
      39:  r0 = 1
      40:  exit
L41:
; rule blocked: dynamic-set.hop:5:3
      41:  r0 = 0
      42:  exit
L43:
      43:  r0 = 0
      44:  exit
