; policy events, target windows
; map hopgate_counters: PerCPUArray, key 4, value 8, 3 entries
; map hopgate_events: RingBuf, 262144 entries

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  *(u64 *)(r10 - 32) = 0
       2:  *(u64 *)(r10 - 24) = 0
       3:  *(u64 *)(r10 - 16) = 0
       4:  *(u64 *)(r10 - 8) = 0
       5:  *(u32 *)(r10 - 24) = -1
       6:  r1 = *(u16 *)(r6 + 40)
       7:  r1 = be16 r1
       8:  if w1 == 23 goto +2 <L11>
; rule default
       9:  w9 = 17
      10:  goto +1 <L12>
L11:
; rule stop: events.hop:4:3
      11:  w9 = 12
L12:
      12:  r1 = *(u32 *)(r6 + 44)
      13:  if w1 == 17 goto +2 <L16>
; rule default
      14:  w8 = 23
      15:  goto +1 <L17>
L16:
; rule watch: events.hop:3:3
      16:  w8 = 0
L17:
      17:  if w8 < w9 goto +2 <L20>
      18:  w8 = -1
      19:  goto +12 <L32>
L20:
      20:  w9 |= 4
      21:  w1 = w8
      22:  w1 >>= 3
      23:  *(u32 *)(r10 - 112) = r1
      24:  r1 = map[hopgate_counters]
      26:  r2 = r10
      27:  r2 += -112
      28:  call bpf_map_lookup_elem
      29:  if r0 == 0 goto +2 <L32>
      30:  r1 = 1
      31:  lock *(u64 *)(r0 + 0) += r1
L32:
      32:  w1 = w9
      33:  w1 >>= 3
      34:  *(u32 *)(r10 - 112) = r1
      35:  r1 = map[hopgate_counters]
      37:  r2 = r10
      38:  r2 += -112
      39:  call bpf_map_lookup_elem
      40:  if r0 == 0 goto +2 <L43>
      41:  r1 = 1
      42:  lock *(u64 *)(r0 + 0) += r1
L43:
      43:  w1 = w9
      44:  w1 &= 4
      45:  if w1 == 0 goto +48 <L94>
      46:  w1 = w9
      47:  w1 >>= 3
      48:  *(u32 *)(r10 - 200) = r1
      49:  w1 = w8
      50:  w1 s>>= 3
      51:  *(u32 *)(r10 - 196) = r1
      52:  w1 = w9
      53:  w1 &= 3
      54:  *(u8 *)(r10 - 192) = r1
      55:  *(u8 *)(r10 - 191) = r1
      56:  *(u8 *)(r10 - 189) = 0
      57:  r1 = *(u32 *)(r6 + 44)
      58:  *(u8 *)(r10 - 190) = r1
      59:  r1 = *(u16 *)(r6 + 40)
      60:  r1 = be16 r1
      61:  *(u16 *)(r10 - 188) = r1
      62:  r1 = *(u16 *)(r6 + 20)
      63:  r1 = be16 r1
      64:  *(u16 *)(r10 - 186) = r1
      65:  r1 = *(u32 *)(r10 - 28)
      66:  *(u32 *)(r10 - 152) = r1
      67:  r1 = *(u32 *)(r10 - 24)
      68:  *(u32 *)(r10 - 148) = r1
      69:  r1 = *(u64 *)(r10 - 16)
      70:  *(u64 *)(r10 - 144) = r1
      71:  r1 = *(u64 *)(r6 + 56)
      72:  *(u64 *)(r10 - 136) = r1
      73:  r1 = *(u32 *)(r10 - 8)
      74:  *(u32 *)(r10 - 128) = r1
      75:  r1 = *(u32 *)(r6 + 48)
      76:  *(u32 *)(r10 - 124) = r1
      77:  *(u64 *)(r10 - 184) = 0
      78:  *(u32 *)(r10 - 176) = -65536
      79:  r1 = *(u32 *)(r6 + 24)
      80:  *(u32 *)(r10 - 172) = r1
      81:  *(u64 *)(r10 - 168) = 0
      82:  *(u32 *)(r10 - 160) = -65536
      83:  r1 = *(u32 *)(r6 + 4)
      84:  *(u32 *)(r10 - 156) = r1
      85:  call bpf_get_current_pid_tgid
      86:  *(u64 *)(r10 - 120) = r0
      87:  r1 = map[hopgate_events]
      89:  r2 = r10
      90:  r2 += -200
      91:  r3 = 88
      92:  r4 = 0
      93:  call bpf_ringbuf_output
L94:
      94:  w0 = w9
      95:  w0 &= 2
      96:  if w0 == 0 goto +1 <L98>
      97:  exit
L98:
      98:  w0 = w9
      99:  w0 &= 1
     100:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  *(u64 *)(r10 - 32) = 0
       2:  *(u64 *)(r10 - 24) = 0
       3:  *(u64 *)(r10 - 16) = 0
       4:  *(u64 *)(r10 - 8) = 0
       5:  *(u32 *)(r10 - 24) = -1
       6:  r1 = *(u16 *)(r6 + 40)
       7:  r1 = be16 r1
       8:  if w1 == 23 goto +2 <L11>
; rule default
       9:  w9 = 17
      10:  goto +1 <L12>
L11:
; rule stop: events.hop:4:3
      11:  w9 = 12
L12:
      12:  r1 = *(u32 *)(r6 + 44)
      13:  if w1 == 17 goto +2 <L16>
; rule default
      14:  w8 = 23
      15:  goto +1 <L17>
L16:
; rule watch: events.hop:3:3
      16:  w8 = 0
L17:
      17:  if w8 < w9 goto +2 <L20>
      18:  w8 = -1
      19:  goto +12 <L32>
L20:
      20:  w9 |= 4
      21:  w1 = w8
      22:  w1 >>= 3
      23:  *(u32 *)(r10 - 112) = r1
      24:  r1 = map[hopgate_counters]
      26:  r2 = r10
      27:  r2 += -112
      28:  call bpf_map_lookup_elem
      29:  if r0 == 0 goto +2 <L32>
      30:  r1 = 1
      31:  lock *(u64 *)(r0 + 0) += r1
L32:
      32:  w1 = w9
      33:  w1 >>= 3
      34:  *(u32 *)(r10 - 112) = r1
      35:  r1 = map[hopgate_counters]
      37:  r2 = r10
      38:  r2 += -112
      39:  call bpf_map_lookup_elem
      40:  if r0 == 0 goto +2 <L43>
      41:  r1 = 1
      42:  lock *(u64 *)(r0 + 0) += r1
L43:
      43:  w1 = w9
      44:  w1 &= 4
      45:  if w1 == 0 goto +56 <L102>
      46:  w1 = w9
      47:  w1 >>= 3
      48:  *(u32 *)(r10 - 200) = r1
      49:  w1 = w8
      50:  w1 s>>= 3
      51:  *(u32 *)(r10 - 196) = r1
      52:  w1 = w9
      53:  w1 &= 3
      54:  *(u8 *)(r10 - 192) = r1
      55:  *(u8 *)(r10 - 191) = r1
      56:  *(u8 *)(r10 - 189) = 0
      57:  r1 = *(u32 *)(r6 + 44)
      58:  *(u8 *)(r10 - 190) = r1
      59:  r1 = *(u16 *)(r6 + 40)
      60:  r1 = be16 r1
      61:  *(u16 *)(r10 - 188) = r1
      62:  r1 = *(u16 *)(r6 + 20)
      63:  r1 = be16 r1
      64:  *(u16 *)(r10 - 186) = r1
      65:  r1 = *(u32 *)(r10 - 28)
      66:  *(u32 *)(r10 - 152) = r1
      67:  r1 = *(u32 *)(r10 - 24)
      68:  *(u32 *)(r10 - 148) = r1
      69:  r1 = *(u64 *)(r10 - 16)
      70:  *(u64 *)(r10 - 144) = r1
      71:  r1 = *(u64 *)(r6 + 56)
      72:  *(u64 *)(r10 - 136) = r1
      73:  r1 = *(u32 *)(r10 - 8)
      74:  *(u32 *)(r10 - 128) = r1
      75:  r1 = *(u32 *)(r6 + 48)
      76:  *(u32 *)(r10 - 124) = r1
      77:  r1 = *(u32 *)(r6 + 24)
      78:  *(u32 *)(r10 - 184) = r1
      79:  r1 = *(u32 *)(r6 + 28)
      80:  *(u32 *)(r10 - 180) = r1
      81:  r1 = *(u32 *)(r6 + 32)
      82:  *(u32 *)(r10 - 176) = r1
      83:  r1 = *(u32 *)(r6 + 36)
      84:  *(u32 *)(r10 - 172) = r1
      85:  r1 = *(u32 *)(r6 + 4)
      86:  *(u32 *)(r10 - 168) = r1
      87:  r1 = *(u32 *)(r6 + 8)
      88:  *(u32 *)(r10 - 164) = r1
      89:  r1 = *(u32 *)(r6 + 12)
      90:  *(u32 *)(r10 - 160) = r1
      91:  r1 = *(u32 *)(r6 + 16)
      92:  *(u32 *)(r10 - 156) = r1
      93:  call bpf_get_current_pid_tgid
      94:  *(u64 *)(r10 - 120) = r0
      95:  r1 = map[hopgate_events]
      97:  r2 = r10
      98:  r2 += -200
      99:  r3 = 88
     100:  r4 = 0
     101:  call bpf_ringbuf_output
L102:
     102:  w0 = w9
     103:  w0 &= 2
     104:  if w0 == 0 goto +1 <L106>
     105:  exit
L106:
     106:  w0 = w9
     107:  w0 &= 1
     108:  exit
