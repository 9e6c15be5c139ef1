package compiler_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
)

// What interfaces and sets must be in a counterexample.
func TestCounterexampleNeeds(t *testing.T) {
	for _, test := range []struct {
		name, statements string
		holds            bool
		needs            []string
	}{
		{"two names for one interface", `interface a = alias "X"
  interface b = alias "X"
  rule a: allow if next_hop == $a
  assert same: never allow if next_hop != $b and next_hop != unknown`, true, nil},
		{"two interfaces that might be one", `interface a = alias "X"
  interface b = alias "Y"
  rule a: allow if next_hop == $a
  assert other: never allow if next_hop == $b and interface == $b and next_hop != unknown and interface != unknown`, false, []string{"$b is the interface iftype65534_1"}},
		{"a LUID that was invented for the name", `interface a = alias "X"
  rule not-a: allow if next_hop == iftype65534_1 and next_hop != $a
  assert a: never allow`, false, []string{"$a is another interface, or absent"}},
		{"one interface, two fields", `interface a = alias "X"
  rule a: allow if next_hop == $a and interface == $a and next_hop == ethernet_1 and interface == ethernet_2
  assert a: never allow`, true, nil},
		{"one address in a set and not", `set s dynamic = {}
  rule a: allow if remote_port == 80 and local_port == 80 and protocol == tcp and remote_address in $s and local_address not in $s and remote_address == 10.0.0.1 and local_address in { 10.0.0.1, 10.0.0.2 }
  assert a: never allow`, false, []string{"$s holds 10.0.0.1", "$s does not hold 10.0.0.2"}},
		{"mapped addresses are not IPv6", `rule a: deny if remote_address in 0.0.0.0/0
  rule b: allow if family == ipv6 and remote_address in { ::-::fffe:ffff:ffff, ::1:0:0:0-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff }
  assert a: always allow if family == ipv6`, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			proof := compiler.Prove(check(t, "policy p {\n  default deny\n  "+test.statements+"\n}\n"))[0]
			require.Equal(t, test.holds, proof.Holds)
			if !test.holds {
				require.Equal(t, test.needs, proof.Counterexample.Needs())
			}
		})
	}
}
