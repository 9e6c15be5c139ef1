; policy addresses, target windows

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  r1 = *(u32 *)(r6 + 24)
       2:  r1 = be32 r1
       3:  if w1 < 167772160 goto +3 <L7>
       4:  if w1 >= 184549376 goto +2 <L7>
; rule four: addresses.hop:4:3
       5:  r0 = 0
       6:  exit
L7:
; rule default
       7:  r0 = 1
       8:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u64 *)(r6 + 24)
       2:  r1 = be64 r1
       3:  if r1 != 0 goto +3 <L7>
       4:  r1 = *(u32 *)(r6 + 32)
       5:  r1 = be32 r1
       6:  if w1 == 65535 goto +20 <L27>
L7:
       7:  r1 = *(u64 *)(r6 + 24)
       8:  r1 = be64 r1
       9:  r0 = 2306139568115548160 ll
      11:  if r1 < r0 goto +13 <L25>
      12:  r0 = 2306139572410515456 ll
      14:  if r1 < r0 goto +8 <L23>
      15:  r0 = 2306139572410515457 ll
      17:  if r1 >= r0 goto +7 <L25>
      18:  r1 = *(u64 *)(r6 + 32)
      19:  r1 = be64 r1
      20:  if r1 != 1 goto +4 <L25>
; rule one: addresses.hop:6:3
      21:  r0 = 2
      22:  exit
L23:
; rule four: addresses.hop:4:3
      23:  r0 = 0
      24:  exit
L25:
; rule default
      25:  r0 = 1
      26:  exit
L27:
      27:  r1 = *(u32 *)(r6 + 36)
      28:  r1 = be32 r1
      29:  if w1 < 167772160 goto +3 <L33>
      30:  if w1 >= 184549376 goto +2 <L33>
; rule four: addresses.hop:4:3
      31:  r0 = 0
      32:  exit
L33:
; rule default
      33:  r0 = 1
      34:  exit
