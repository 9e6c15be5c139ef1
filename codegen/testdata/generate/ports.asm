; policy ports, target windows

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  r1 = *(u32 *)(r6 + 44)
       2:  if w1 != 6 goto +6 <L9>
       3:  r1 = *(u16 *)(r6 + 40)
       4:  r1 = be16 r1
       5:  if w1 == 139 goto +5 <L11>
       6:  if w1 == 445 goto +4 <L11>
       7:  if w1 < 5985 goto +1 <L9>
       8:  if w1 < 5987 goto +2 <L11>
L9:
; rule default
       9:  r0 = 1
      10:  exit
L11:
; rule lan: ports.hop:4:3
      11:  r0 = 0
      12:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u32 *)(r6 + 44)
       2:  if w1 != 6 goto +6 <L9>
       3:  r1 = *(u16 *)(r6 + 40)
       4:  r1 = be16 r1
       5:  if w1 == 139 goto +5 <L11>
       6:  if w1 == 445 goto +4 <L11>
       7:  if w1 < 5985 goto +1 <L9>
       8:  if w1 < 5987 goto +2 <L11>
L9:
; rule default
       9:  r0 = 1
      10:  exit
L11:
; rule lan: ports.hop:4:3
      11:  r0 = 0
      12:  exit
