; policy no-rules, target windows

; section cgroup/connect_authorization4
connect_authorization4:
       0:  r6 = r1
; rule default
       1:  r0 = 0
       2:  exit

; section cgroup/connect_authorization6
connect_authorization6:
       0:  r6 = r1
; rule default
       1:  r0 = 0
       2:  exit
