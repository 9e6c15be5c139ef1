package compiler_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// check makes a policy of DSL text.
func check(t testing.TB, text string) *compiler.Policy {
	t.Helper()
	policy, err := checkFiles(fileSet{"test.hop": text}, "test.hop", nil)
	require.NoError(t, err)
	return policy
}

// fileSet is the files of a test, by name.
type fileSet map[string]string

func (s fileSet) open(path string) ([]byte, error) {
	text, ok := s[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// checkFiles parses and checks a file that may name others of the set.
func checkFiles(files fileSet, name string, opts *compiler.Options) (*compiler.Policy, error) {
	file, err := lang.Parse(name, []byte(files[name]))
	var found lang.Diagnostics
	errors.As(err, &found)
	if file == nil {
		return nil, found
	}
	if opts == nil {
		opts = &compiler.Options{}
	}
	opts.Open = files.open
	policy, err := compiler.Check(file, opts)
	var more lang.Diagnostics
	errors.As(err, &more)
	return policy, append(found, more...).Sort().Err()
}

// Every row of the language's table of comparisons, and what is said below it.
func TestComparisons(t *testing.T) {
	const header = `policy p {
		default deny
		set ports = { 22, 443/tcp, 5000-5010/udp }
		set nets = { 10.0.0.0/8, $more }
		set more = { 192.0.2.1, 2001:db8::/32 }
		set ends = { 10.0.0.1:80, [2001:db8::1]:53/udp }
		set untrusted = { wifi, cellular, unknown }
		set tunnels = { $vpn, ethernet_1, unknown }
		set empty dynamic = {}
		set live dynamic = { 10.1.0.0/16 }
		interface vpn = luid "iftype53_7"
		interface gone = alias "Gone"
		rule r: deny if `
	for _, test := range []struct {
		cond, request string
		want          compiler.Truth
	}{
		// name, number
		{"interface_type == wifi", "interface_type = wifi", compiler.True},
		{"interface_type == wifi", "interface_type = 71", compiler.True},
		{"interface_type == 071", "interface_type = IF_TYPE_IEEE80211", compiler.True},
		{"interface_type == wifi", "interface_type = ethernet", compiler.False},
		{"interface_type == wifi", "", compiler.Maybe},
		{"interface_type == wifi", "interface_type = unknown", compiler.Maybe},
		{"interface_type == cellular", "interface_type = 243", compiler.True},
		{"interface_type == cellular", "interface_type = 244", compiler.True},
		{"interface_type == cellular", "interface_type = 242", compiler.False},
		{"interface_type != cellular", "interface_type = 243", compiler.False},
		{"interface_type != cellular", "interface_type = 244", compiler.False},
		{"interface_type != cellular", "interface_type = wifi", compiler.True},
		{"interface_type != cellular", "", compiler.Maybe},
		{"tunnel_type == none", "tunnel_type = 0", compiler.True},
		{"tunnel_type == none", "tunnel_type = teredo", compiler.False},
		{"tunnel_type == none", "", compiler.Maybe},
		{"tunnel_type != none", "", compiler.Maybe},
		{"tunnel_type == 6to4", "tunnel_type = sixToFour", compiler.True},
		{"protocol == tcp", "protocol = 6", compiler.True},
		{"protocol != tcp", "protocol = udp", compiler.True},
		{"protocol == 010", "protocol = 10", compiler.True},

		// number, lo-hi
		{"remote_port == 443", "remote = 1.2.3.4:443/tcp", compiler.True},
		{"remote_port == 443", "remote_port = 444", compiler.False},
		{"remote_port in 80-90", "remote_port = 80", compiler.True},
		{"remote_port in 80-90", "remote_port = 90", compiler.True},
		{"remote_port in 80-90", "remote_port = 91", compiler.False},
		{"local_port in { 1, 2, 3 }", "local_port = 2", compiler.True},
		{"sub_interface == 7", "sub_interface = 7", compiler.True},
		{"sub_interface in 0-7", "sub_interface = 0", compiler.Maybe},
		{"sub_interface in 0-7", "", compiler.Maybe},
		{"compartment == 0", "", compiler.True},
		{"compartment in 1-2", "compartment = 2", compiler.True},

		// n/p, lo-hi/p
		{"remote_port == 445/tcp", "remote_port = 445/tcp", compiler.True},
		{"remote_port == 445/tcp", "remote_port = 445/udp", compiler.False},
		{"remote_port != 445/tcp", "remote_port = 445/udp", compiler.True},
		{"remote_port != 445/tcp", "remote_port = 445, protocol = icmp", compiler.True},
		{"remote_port in { 53, 80/tcp, 500-600/udp }", "remote_port = 53, protocol = gre", compiler.True},
		{"remote_port in { 53, 80/tcp, 500-600/udp }", "remote_port = 80/udp", compiler.False},
		{"remote_port in { 53, 80/tcp, 500-600/udp }", "remote_port = 600/udp", compiler.True},
		{"remote_port in { 53/tcp, 53/udp }", "remote_port = 53/udp", compiler.True},
		{"remote_port in { 53/tcp, 53/udp }", "remote_port = 53", compiler.False},

		// ip, cidr, ip-ip
		{"remote_address == 10.0.0.1", "remote = 10.0.0.1", compiler.True},
		{"remote_address == 10.0.0.1", "remote = ::ffff:10.0.0.1", compiler.True},
		{"remote_address in 10.0.0.0/8", "remote = 10.255.255.255", compiler.True},
		{"remote_address in 10.0.0.0/8", "remote = 11.0.0.0", compiler.False},
		{"remote_address != 10.0.0.0/8", "remote = 2001:db8::1", compiler.True},
		{"remote_address in 10.0.0.1-10.0.0.9", "remote = 10.0.0.9", compiler.True},
		{"remote_address in ::/0", "remote = 10.0.0.9", compiler.False},
		{"remote_address in ::/0", "remote = ::", compiler.True},
		{"remote_address in ::-::ffff:ffff:ffff:ffff", "remote = 10.0.0.9", compiler.False},
		{"remote_address in 0.0.0.0/0", "remote = ::1", compiler.False},
		{"local == 10.0.0.1", "local = 10.0.0.1:5", compiler.True},
		{"local_address == ::", "remote = ::1", compiler.True},
		{"local_address == 0.0.0.0", "", compiler.True},

		// ip:port[/p]
		{"remote == 10.0.0.1:443", "remote = 10.0.0.1:443/udp", compiler.True},
		{"remote == 10.0.0.1:443", "remote = 10.0.0.1:444", compiler.False},
		{"remote == 10.0.0.1:443/tcp", "remote = 10.0.0.1:443/udp", compiler.False},
		{"remote == [2001:db8::1]:443/tcp", "remote = [2001:db8::1]:443/tcp", compiler.True},
		{"remote != 10.0.0.1:443/tcp", "remote = 10.0.0.2:443/tcp", compiler.True},
		{"remote in { 10.0.0.1:443, 10.0.0.2:80, 10.0.0.3 }", "remote = 10.0.0.1:80", compiler.False},
		{"remote in { 10.0.0.1:443, 10.0.0.2:80, 10.0.0.3 }", "remote = 10.0.0.3:9", compiler.True},
		{"local in { 10.0.0.1:443/tcp, 10.0.0.1:443/udp }", "local = 10.0.0.1:443/udp", compiler.True},

		// family
		{"family == ipv4", "", compiler.True},
		{"family == ipv6", "remote = ::1", compiler.True},
		{"family == ipv6", "family = ipv6", compiler.True},
		{"family == ipv6", "remote = ::ffff:1.2.3.4", compiler.False},
		{"family in { ipv4, ipv6 }", "remote = ::1", compiler.True},

		// LUID
		{"next_hop == 0x0006008005000000", "next_hop = ethernet_32773", compiler.True},
		{"next_hop == wireless_32768", "next_hop = 0x0047008000000000, interface_type = ethernet", compiler.True},
		{"next_hop == iftype53_32768", "next_hop = 0x0035008000000000", compiler.True},
		{"next_hop == ethernet_1", "next_hop = ethernet_2", compiler.False},
		{"next_hop != ethernet_1", "", compiler.Maybe},
		{"interface == ethernet_1", "interface = ethernet_1", compiler.True},

		// $interface
		{"next_hop == $vpn", "next_hop = iftype53_7", compiler.True},
		{"next_hop == $vpn", "next_hop = $vpn", compiler.True},
		{"interface == $vpn", "interface = $gone", compiler.False},
		{"next_hop == $gone", "next_hop = $gone", compiler.True},
		{"next_hop == $gone", "next_hop = $vpn", compiler.False},
		{"next_hop == $vpn", "", compiler.Maybe},
		{"next_hop in { ethernet_1, $vpn, unknown }", "next_hop = $vpn", compiler.True},
		{"next_hop in { ethernet_1, $vpn, unknown }", "", compiler.True},
		{"next_hop in { ethernet_1, $vpn, unknown }", "next_hop = ethernet_2", compiler.False},

		// $set
		{"remote_port in $ports", "remote_port = 22", compiler.True},
		{"remote_port in $ports", "remote_port = 443/udp", compiler.False},
		{"local_port == $ports", "local_port = 5010/udp", compiler.True},
		{"remote_port not in { $ports, 23 }", "remote_port = 23", compiler.False},
		{"remote in $nets", "remote = 10.1.1.1:5", compiler.True},
		{"remote_address in $nets", "remote = 192.0.2.1", compiler.True},
		{"remote_address in $nets", "remote = 2001:db8:1::", compiler.True},
		{"remote in $ends", "remote = 10.0.0.1:80", compiler.True},
		{"remote in $ends", "remote = [2001:db8::1]:53/tcp", compiler.False},
		{"remote_address in $empty", "", compiler.False},
		{"remote_address not in $empty", "", compiler.True},
		{"remote_address in $live", "remote = 10.1.2.3", compiler.True},
		{"remote_address in { $live, 10.2.0.1 }", "remote = 10.2.0.1", compiler.True},
		{"interface_type in $untrusted", "", compiler.True},
		{"interface_type in $untrusted", "interface_type = 244", compiler.True},
		{"interface_type in $untrusted", "interface_type = ethernet", compiler.False},
		{"interface_type not in { $untrusted, ethernet }", "", compiler.False},
		{"next_hop in $tunnels", "next_hop = $vpn", compiler.True},
		{"next_hop in $tunnels", "next_hop = $gone", compiler.False},
		{"interface in $tunnels", "", compiler.True},

		// unknown
		{"interface_type == unknown", "", compiler.True},
		{"interface_type == unknown", "interface_type = wifi", compiler.False},
		{"interface_type != unknown", "", compiler.False},
		{"tunnel_type == unknown", "tunnel_type = none", compiler.False},
		{"sub_interface in { 5, unknown }", "", compiler.True},
		{"interface_type in { wifi, unknown }", "", compiler.True},
		{"interface_type in { wifi, unknown }", "interface_type = wifi", compiler.True},
		{"interface_type not in { wifi, unknown }", "", compiler.False},
		{"interface_type not in { wifi, unknown }", "interface_type = ethernet", compiler.True},
		{"interface == unknown", "interface = 0xffffffffffffffff", compiler.True},

		// <, <=, >, >=
		{"remote_port < 1024", "remote_port = 1023", compiler.True},
		{"remote_port < 1024", "remote_port = 1024", compiler.False},
		{"remote_port <= 1024", "remote_port = 1024", compiler.True},
		{"remote_port > 1024", "remote_port = 1024", compiler.False},
		{"remote_port >= 1024", "remote_port = 1024", compiler.True},
		{"remote_port < 0", "", compiler.False},
		{"remote_port > 65535", "remote_port = 65535", compiler.False},
		{"sub_interface > 5", "", compiler.Maybe},
		{"sub_interface < 0", "", compiler.Maybe},
		{"sub_interface < 0", "sub_interface = 1", compiler.False},
		{"compartment >= 0", "", compiler.True},

		// and, or, not: minimum, maximum, reversal
		{"interface_type == wifi and remote_port == 80", "remote_port = 80", compiler.Maybe},
		{"interface_type == wifi and remote_port == 80", "remote_port = 81", compiler.False},
		{"interface_type == wifi or remote_port == 80", "remote_port = 80", compiler.True},
		{"interface_type == wifi or remote_port == 80", "remote_port = 81", compiler.Maybe},
		{"not interface_type == wifi", "", compiler.Maybe},
		{"interface_type == wifi or not interface_type == wifi", "", compiler.Maybe},
		{"interface_type == wifi and not interface_type == wifi", "", compiler.Maybe},
		{"not (remote_port == 80 or protocol == tcp)", "remote_port = 81", compiler.True},
		{"remote_port == 80 unless interface_type == wifi", "remote_port = 80", compiler.Maybe},
		{"remote_port == 80 unless protocol == udp", "remote_port = 80/udp", compiler.False},
	} {
		t.Run(test.cond+"/"+test.request, func(t *testing.T) {
			policy := check(t, header+test.cond+" }")
			request, err := policy.RequestFromText(test.request)
			require.NoError(t, err)
			require.Equal(t, test.want, compiler.EvalCond(policy.Rules[0].Cond, &request), "%s", policy.Rules[0].Cond)

			again := check(t, policy.String())
			require.Equal(t, test.want, compiler.EvalCond(again.Rules[0].Cond, &request), "as String has it: %s", policy.Rules[0].Cond)
			require.Equal(t, policy.String(), again.String())
		})
	}
}

// A condition without text is true, and unless alone is enough.
func TestConditionsWithoutIf(t *testing.T) {
	policy := check(t, `policy p { default deny
		rule all: allow
		rule most: allow unless protocol == tcp }`)
	request, err := policy.RequestFromText("protocol = tcp")
	require.NoError(t, err)
	require.Equal(t, compiler.True, compiler.EvalCond(policy.Rules[0].Cond, &request))
	require.Equal(t, compiler.False, compiler.EvalCond(policy.Rules[1].Cond, &request))
}

// Literals of one comparison become few, merged ranges.
func TestConditionsAreCompact(t *testing.T) {
	for text, want := range map[string]string{
		"remote_port in { 5, 1-3, 4, 2/tcp, 2/udp }":                                       "remote_port in 1-5 or remote_port == 2 and protocol in { tcp, udp }",
		"remote_address in { 10.0.0.0/9, 10.128.0.0/9, 10.1.2.3 }":                         "remote_address in 10.0.0.0/8",
		"remote in { 10.0.0.1:80/tcp, 10.0.0.0:80/tcp, 10.0.0.1:80/udp, 10.0.0.0:80/udp }": "remote_address in 10.0.0.0/31 and remote_port == 80 and protocol in { tcp, udp }",
		"remote in { 10.0.0.1:80, 10.0.0.1:81, 10.0.0.9:90 }":                              "remote_address == 10.0.0.1 and remote_port in 80-81 or remote_address == 10.0.0.9 and remote_port == 90",
		"interface_type in { cellular, wifi, 71 }":                                         "interface_type in { wifi, wwanPP, wwanPP2 }",
		"remote_address in { 0.0.0.0/0, ::/0 }":                                            "remote_address in { 0.0.0.0/0, ::/0 }",
		"not remote_port in 0-1023":                                                        "remote_port > 1023",
		"not (not remote_port in { 1024-65535 })":                                          "not remote_port < 1024",
		"next_hop in { unknown, 0x0006008005000000, 0x0006008005000001 }":                  "next_hop in { ethernet_32773, 0x0006008005000001, unknown }",
	} {
		require.Equal(t, want, check(t, "policy p { default deny rule r: deny if "+text+" }").Rules[0].Cond.String(), text)
	}
}

func TestPolicyString(t *testing.T) {
	text := strings.TrimLeft(`
policy corp {
  hook accept
  default deny
  mode audit
  on unknown fail-open
  set blocked dynamic = { 10.0.0.0/8, 192.0.2.1, 2001:db8::/32 }
  interface vpn = alias "Corp \"VPN\" \\ 2"
  rule a: allow hard log audit
  rule b: deny if interface == $vpn and (remote_address in $blocked or not (protocol == tcp and remote_port <= 1023))
  rule c: allow if interface_type != unknown
  assert no-leak: never allow if protocol == tcp
  assert always-on: always allow hard if remote_port == 22
  test { interface_type = wifi, tunnel_type = none, interface = $vpn, remote = 10.0.0.9:445, protocol = tcp } => deny by b
  test { interface_type = unknown, interface = unknown, remote = ::1, local_port = 7 } => allow by default
}
`, "\n")
	require.Equal(t, text, check(t, text).String())
}
