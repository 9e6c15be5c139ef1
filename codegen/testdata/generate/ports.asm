; policy ports, target windows

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
       1:  r1 = *(u32 *)(r6 + 44)
       2:  if w1 != 6 goto +8 <L11>
       3:  r1 = *(u16 *)(r6 + 40)
       4:  r1 = be16 r1
       5:  if w1 < 445 goto +4 <L10>
       6:  if w1 < 446 goto +6 <L13>
       7:  if w1 < 5985 goto +3 <L11>
       8:  if w1 < 5987 goto +4 <L13>
       9:  goto +1 <L11>
L10:
      10:  if w1 == 139 goto +2 <L13>
L11:
; rule default
      11:  r0 = 1
      12:  exit
L13:
; rule lan: ports.hop:4:3
      13:  r0 = 0
      14:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
       1:  r1 = *(u32 *)(r6 + 44)
       2:  if w1 != 6 goto +8 <L11>
       3:  r1 = *(u16 *)(r6 + 40)
       4:  r1 = be16 r1
       5:  if w1 < 445 goto +4 <L10>
       6:  if w1 < 446 goto +6 <L13>
       7:  if w1 < 5985 goto +3 <L11>
       8:  if w1 < 5987 goto +4 <L13>
       9:  goto +1 <L11>
L10:
      10:  if w1 == 139 goto +2 <L13>
L11:
; rule default
      11:  r0 = 1
      12:  exit
L13:
; rule lan: ports.hop:4:3
      13:  r0 = 0
      14:  exit
