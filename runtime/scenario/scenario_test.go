package scenario

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
)

// noWifi is the policy `deny on wifi, else allow`, with a counter for each.
func noWifi(section string) *codegen.Program {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -codegen.NetworkContextSize),
		asm.Mov.Imm(asm.R3, codegen.NetworkContextSize),
		asm.BuiltinFunc(codegen.HelperNetworkContext).Call(),
		asm.LoadMem(asm.R1, asm.R10, codegen.NetworkContextInterfaceType-codegen.NetworkContextSize, asm.Word),
		asm.Mov.Imm(asm.R7, 0),
		asm.JEq.Imm(asm.R1, 71, "count"),
		asm.Mov.Imm(asm.R7, 1),
		asm.StoreMem(asm.R10, -40, asm.R7, asm.Word).WithSymbol("count"),
		asm.LoadMapPtr(asm.R1, 0).WithReference(codegen.CountersMap),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -40),
		asm.BuiltinFunc(1).Call(),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R7),
		asm.Return(),
	}
	return &codegen.Program{
		Policy:    "no-wifi",
		Functions: []codegen.Function{{Name: "program", Section: section, Instructions: code}},
		Maps:      []*ebpf.MapSpec{{Name: codegen.CountersMap, Type: ebpf.WindowsPerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 2}},
		Rules:     []codegen.Rule{{ID: "wifi"}, {ID: "default"}},
	}
}

const networks = `networks:
  office: {interface_type: ethernet, tunnel_type: none}
  cafe: {interface_type: wifi}
`

func run(t *testing.T, steps string, programs ...*codegen.Program) *Report {
	s, err := Parse("day.yaml", []byte(networks+steps))
	require.NoError(t, err)
	report, err := Run(s, programs, &Options{})
	require.NoError(t, err)
	return report
}

// table writes a decision on a line.
func table(report *Report) string {
	var b strings.Builder
	for _, d := range report.Decisions {
		fmt.Fprintf(&b, "%d %s %s at %s to %s: %s by %s/%s, %s\n", d.Step, d.Stage, d.Flow, d.Network, d.Remote, d.Verdict, d.Policy, d.Rule, d.State)
	}
	return b.String()
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name, steps, want string
	}{{
		name: "a move judges live connections again, and drops what is denied there",
		steps: `steps:
  - network: office
  - connect: {remote: '10.0.0.9:445/tcp'}
    flow: files
    expect: allow
    by: default
  - connect: {remote: '192.0.2.1:443'}
  - close: 2
  - network: cafe
    expect: {files: deny}
    by: {files: wifi}
  - connect: {remote: '192.0.2.1:443'}
    expect: deny
  - network: office
`,
		want: `2 connect files at office to 10.0.0.9:445: allow by no-wifi/default, live
3 connect 2 at office to 192.0.2.1:443: allow by no-wifi/default, live
5 reauthorize files at cafe to 10.0.0.9:445: deny by no-wifi/wifi, dropped
6 connect 3 at cafe to 192.0.2.1:443: deny by no-wifi/wifi, blocked
`,
	}, {
		name: "what a request gives of the network stays with its connection",
		steps: `steps:
  - network: cafe
  - connect: {remote: '192.0.2.1:443', interface_type: ethernet}
    expect: allow
  - network: office
  - network: cafe
    expect: {1: allow}
`,
		want: `2 connect 1 at cafe to 192.0.2.1:443: allow by no-wifi/default, live
3 reauthorize 1 at office to 192.0.2.1:443: allow by no-wifi/default, live
4 reauthorize 1 at cafe to 192.0.2.1:443: allow by no-wifi/default, live
`,
	}, {
		name: "a connection opened before the first move is on a network of which nothing is known",
		steps: `steps:
  - connect: {remote: '192.0.2.1:443'}
  - connect: {remote: '192.0.2.1:443', interface_type: wifi}
`,
		want: `1 connect 1 at  to 192.0.2.1:443: allow by no-wifi/default, live
2 connect 2 at  to 192.0.2.1:443: deny by no-wifi/wifi, blocked
`,
	}, {
		name: "redirections hold for the connections that come after them",
		steps: `steps:
  - network: office
  - connect: {remote: '192.0.2.1:443'}
  - redirect: {from: '192.0.2.1:443', to: '127.0.0.1:8080'}
  - connect: {remote: '192.0.2.1:443'}
  - connect: {remote: '192.0.2.1:80'}
  - redirect: {from: '192.0.2.1:443', to: '127.0.0.1:9090'}
  - connect: {remote: '192.0.2.1:443'}
  - redirect: {from: '192.0.2.7', to: '192.0.2.8'}
  - connect: {remote: '192.0.2.7:22'}
`,
		want: `2 connect 1 at office to 192.0.2.1:443: allow by no-wifi/default, live
4 connect 2 at office to 127.0.0.1:8080: allow by no-wifi/default, live
5 connect 3 at office to 192.0.2.1:80: allow by no-wifi/default, live
7 connect 4 at office to 127.0.0.1:9090: allow by no-wifi/default, live
9 connect 5 at office to 192.0.2.8:22: allow by no-wifi/default, live
`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			report := run(t, test.steps, noWifi("cgroup/connect_authorization4"))
			require.Equal(t, test.want, table(report))
			require.Empty(t, report.Mismatches)
		})
	}
}

func TestRedirectIPv6(t *testing.T) {
	report := run(t, `steps:
  - redirect: {from: '[2001:db8::1]:443', to: '[::1]:8080'}
  - connect: {remote: '[2001:db8::1]:443'}
  - connect: {remote: '[2001:db8:1::1]:443'}
`, noWifi("cgroup/connect_authorization6"))
	require.Equal(t, `2 connect 1 at  to [::1]:8080: allow by no-wifi/default, live
3 connect 2 at  to [2001:db8:1::1]:443: allow by no-wifi/default, live
`, table(report))
	require.Len(t, report.Decisions[0].Result.Calls, 3, "redirected, then authorized twice")
}

func TestAccept(t *testing.T) {
	report := run(t, `steps:
  - network: office
  - accept: {remote: '10.0.0.7:50000/tcp', local: '10.0.0.2:22'}
    expect: allow
  - network: cafe
  - accept: {remote: '10.0.0.7:50000/tcp', local: '10.0.0.2:22'}
    expect: deny
`, noWifi("cgroup/recv_accept4"))
	require.Equal(t, `2 accept 1 at office to 10.0.0.7:50000: allow by no-wifi/default, live
4 accept 2 at cafe to 10.0.0.7:50000: deny by no-wifi/wifi, blocked
`, table(report))
	require.Empty(t, report.Mismatches)
}

func TestSeveralPolicies(t *testing.T) {
	hard := &codegen.Program{
		Policy: "hard",
		Functions: []codegen.Function{{
			Name: "program", Section: "cgroup/connect_authorization4",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
		}},
	}
	report := run(t, `steps:
  - network: office
  - connect: {remote: '192.0.2.1:443'}
  - network: cafe
`, hard, noWifi("cgroup/connect_authorization4"))
	require.Equal(t, `2 connect 1 at office to 192.0.2.1:443: allow-hard by hard/, live
3 reauthorize 1 at cafe to 192.0.2.1:443: deny by no-wifi/wifi, dropped
`, table(report))
	require.Equal(t, runtime.Reauthorizing, report.Decisions[1].Stage)
}

func TestMismatches(t *testing.T) {
	report := run(t, `steps:
  - network: office
  - connect: {remote: '192.0.2.1:443'}
    expect: deny
  - connect: {remote: '192.0.2.1:443'}
    by: wifi
  - close: 1
  - network: cafe
    expect: {1: deny, 2: allow}
    by: {2: default}
  - close: 2
`, noWifi("cgroup/connect_authorization4"))
	require.EqualError(t, report.Mismatches, `day.yaml:7:13: expected deny for flow `+"`1`, got allow by `default`"+` [expectation-failed]
day.yaml:9:9: expected rule `+"`wifi` to decide on flow `2`, it was `default`"+` [expectation-failed]
day.yaml:12:14: nothing was decided on flow `+"`1`"+`: it is not live, or inbound [expectation-failed]
day.yaml:12:23: expected allow for flow `+"`2`, got deny by `wifi`"+` [expectation-failed]
day.yaml:14:5: flow `+"`2`"+` is not live [expectation-failed]`)
}

// What is wrong with field values is found before anything is played.
func TestBadRequests(t *testing.T) {
	s, err := Parse("day.yaml", []byte(`networks:
  office: {interface_type: ethernt}
steps:
  - connect: {remote: '192.0.2.1:443', next_hop: $vpn}
  - connect: {remote: '192.0.2.1:443', local: '[::1]:1'}
  - connect: {remot: '192.0.2.1:443'}
`))
	require.NoError(t, err)
	_, err = Run(s, nil, &Options{})
	require.ErrorContains(t, err, "day.yaml:2:12: ")
	require.ErrorContains(t, err, "\nday.yaml:4:40: no interface is called `vpn`")
	require.ErrorContains(t, err, "\nday.yaml:5:40: `local_address` is of another address family")
	require.ErrorContains(t, err, "\nday.yaml:6:15: ")
}

// What `hopgate explain` shows is true: the bad example gets the code, and the good
// one nothing.
func TestCodes(t *testing.T) {
	for _, code := range Codes() {
		require.Equal(t, []string{code.Name}, codesOf(t, code.Bad))
		require.Empty(t, codesOf(t, code.Good))
	}
}

func codesOf(t *testing.T, text string) (codes []string) {
	s, err := Parse("example.yaml", []byte(text))
	require.NoError(t, err)
	report, err := Run(s, nil, &Options{})
	var found lang.Diagnostics
	if !errors.As(err, &found) {
		found = report.Mismatches
	}
	for _, d := range found {
		codes = append(codes, d.Code)
	}
	return codes
}
