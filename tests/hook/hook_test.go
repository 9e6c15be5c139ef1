// Package hook plays the behaviour of the authorization hook as it is known of
// eBPF for Windows and the Windows Filtering Platform, one story each. A story
// attaches a few small programs, then lets things happen to the host and says
// what comes of each.
package hook

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// story is one behaviour of the hook.
type story struct {
	name     string
	options  runtime.HookOptions
	attached []attached // in attach order
	steps    []step
}

// attached is one program at one layer.
type attached struct {
	name        string
	layer       codegen.AttachType
	code        asm.Instructions
	compartment uint32
}

// step is something that happens, and what comes of it: for each connection that
// was judged the verdict, then the programs that ran with theirs.
type step struct {
	do   func(*host) string
	want string
}

type host struct {
	t     *testing.T
	hook  *runtime.Hook
	links map[string]*runtime.Link
	flows []*runtime.Flow
}

func (s *story) run(t *testing.T) {
	h := &host{t: t, hook: runtime.NewHook(&s.options), links: map[string]*runtime.Link{}}
	for _, a := range s.attached {
		h.attach(a)
	}
	for i, step := range s.steps {
		require.Equal(t, step.want, step.do(h), "step %d", i+1)
	}
}

func (a *attached) program() *codegen.Program {
	return &codegen.Program{
		Policy:    a.name,
		Functions: []codegen.Function{{Name: "program", Section: a.layer.Section(), Instructions: a.code}},
	}
}

func (h *host) attach(a attached) {
	require.NoError(h.t, h.tryAttach(a))
}

func (h *host) tryAttach(a attached) error {
	link, err := h.hook.Attach(a.program(), &runtime.AttachOptions{Compartment: a.compartment})
	if err == nil {
		h.links[a.name] = link
	}
	return err
}

// tell writes down a result: `deny | soft permit: allow, reject: deny`.
func tell(result *runtime.Result) string {
	var calls []string
	for i := range result.Calls {
		c := &result.Calls[i]
		call := fmt.Sprintf("%s: %s", c.Policy, c.Verdict)
		if c.Remote != result.Request.Remote {
			call += fmt.Sprintf(" (shown %s)", c.Remote)
		}
		calls = append(calls, call)
	}
	return result.Verdict.String() + " | " + strings.Join(calls, ", ")
}

func tellAll(results []*runtime.Result) string {
	var told []string
	for _, r := range results {
		told = append(told, tell(r))
	}
	return strings.Join(told, "; ")
}

// Networks a host can be at.
var (
	ethernet = runtime.Network{InterfaceType: 6, NextHop: 0x0006008005000000, SubInterface: 1, Interface: 0x0006008005000000}
	wifi     = runtime.Network{InterfaceType: 71, NextHop: 0x0047008000000000, SubInterface: 1, Interface: 0x0047008000000000}
)

func to(remote string) compiler.Request {
	r := compiler.NoContext()
	ethernet.Apply(&r)
	r.Remote, r.Protocol = netip.MustParseAddrPort(remote), 6
	if r.Remote.Addr().Is6() {
		r.Local = netip.MustParseAddrPort("[::]:0")
	}
	return r
}

// connect opens a TCP connection over ethernet.
func connect(remote, want string) step { return connectIn(0, remote, want) }

// connectIn opens a TCP connection in a network compartment.
func connectIn(compartment uint32, remote, want string) step {
	return step{func(h *host) string {
		r := to(remote)
		r.Compartment = compartment
		flow, result := h.hook.Connect(&r)
		h.flows = append(h.flows, flow)
		return tell(result)
	}, want}
}

// accept gets a TCP connection over ethernet.
func accept(peer, want string) step {
	return step{func(h *host) string {
		r := to(peer)
		flow, result := h.hook.Accept(&r)
		h.flows = append(h.flows, flow)
		return tell(result)
	}, want}
}

// move changes the route of the host.
func move(n runtime.Network, want string) step {
	return step{func(h *host) string { return tellAll(h.hook.SetNetwork(n)) }, want}
}

// reauthorize is what Windows does when the policy of the host changed.
func reauthorize(want string) step {
	return step{func(h *host) string { return tellAll(h.hook.Reauthorize()) }, want}
}

// live counts the connections that stand.
func live(want string) step {
	return step{func(h *host) string { return fmt.Sprint(len(h.hook.Flows())) }, want}
}

// closes ends the i-th connection of the story, from 1.
func closes(i int) step {
	return step{func(h *host) string { h.flows[i-1].Close(); return "" }, ""}
}

func detach(name string) step {
	return step{func(h *host) string { return fmt.Sprint(h.links[name].Close()) }, "<nil>"}
}

func update(name string, layer codegen.AttachType, code asm.Instructions) step {
	return step{func(h *host) string {
		a := attached{name: name, layer: layer, code: code}
		return fmt.Sprint(h.links[name].Update(a.program()))
	}, "<nil>"}
}

func attach(a attached) step {
	return step{func(h *host) string { h.attach(a); return "" }, ""}
}

// refuses attaches a program where Windows takes no other.
func refuses(a attached) step {
	return step{func(h *host) string { return h.tryAttach(a).Error() }, a.layer.Section() + ": another program is attached there"}
}

const server = "192.0.2.1:443"

func TestVerdicts(t *testing.T) {
	for _, s := range []story{{
		name:  "without programs a connection passes with a soft permit",
		steps: []step{connect(server, "allow | "), accept(server, "allow | "), live("2")},
	}, {
		name:     "initial reject: the connection is blocked",
		attached: []attached{{"reject", authorize4, returns(reject), 0}},
		steps:    []step{connect(server, "deny | reject: deny"), live("0")},
	}, {
		name:     "soft permit",
		attached: []attached{{"soft permit", authorize4, returns(proceedSoft), 0}},
		steps:    []step{connect(server, "allow | soft permit: allow"), live("1")},
	}, {
		name:     "hard permit",
		attached: []attached{{"hard permit", authorize4, returns(proceedHard), 0}},
		steps:    []step{connect(server, "allow-hard | hard permit: allow-hard"), live("1")},
	}, {
		name:     "a verdict that does not exist is a reject",
		attached: []attached{{"returns 3", authorize4, returns(3), 0}},
		steps:    []step{connect(server, "deny | returns 3: deny")},
	}, {
		name:     "a negative verdict is a reject",
		attached: []attached{{"returns -1", authorize4, returns(-1), 0}},
		steps:    []step{connect(server, "deny | returns -1: deny")},
	}, {
		name:     "the verdict is the low half of r0: the hook's function returns an int",
		attached: []attached{{"1 and more", authorize4, returnsInR0(0x7_0000_0001), 0}},
		steps:    []step{connect(server, "allow | 1 and more: allow")},
	}, {
		name:     "a program that cannot be run is a reject",
		attached: []attached{{"faults", authorize4, faults(), 0}, {"hard permit", authorize4, returns(proceedHard), 0}},
		steps:    []step{connect(server, "deny | faults: deny")},
	}, {
		name:     "an inbound connection is judged by recv_accept only",
		attached: []attached{{"connect", authorize4, returns(reject), 0}, {"accept", recvAccept4, returns(proceedHard), 0}},
		steps:    []step{accept("192.0.2.7:50000", "allow-hard | accept: allow-hard"), live("1")},
	}, {
		name:     "an inbound connection can be rejected",
		attached: []attached{{"accept", recvAccept6, returns(reject), 0}},
		steps:    []step{accept("[2001:db8::7]:50000", "deny | accept: deny"), live("0")},
	}} {
		t.Run(s.name, s.run)
	}
}

// Only the programs of the connection's attach type are invoked.
func TestFilteredInvocation(t *testing.T) {
	every := []attached{
		{"connect4", redirect4, returns(proceedSoft), 0}, {"connect6", redirect6, returns(proceedSoft), 0},
		{"authorize4", authorize4, returns(proceedSoft), 0}, {"authorize6", authorize6, returns(proceedSoft), 0},
		{"accept4", recvAccept4, returns(proceedSoft), 0}, {"accept6", recvAccept6, returns(proceedSoft), 0},
	}
	for _, s := range []story{{
		name: "IPv4", attached: every,
		steps: []step{connect(server, "allow | connect4: allow, authorize4: allow"), accept(server, "allow | accept4: allow")},
	}, {
		name: "IPv6", attached: every,
		steps: []step{connect("[2001:db8::1]:443", "allow | connect6: allow, authorize6: allow"), accept("[2001:db8::1]:443", "allow | accept6: allow")},
	}, {
		name: "an IPv4-mapped connection is one of IPv4", attached: every,
		steps: []step{connect("[::ffff:192.0.2.1]:443", "allow | connect4: allow, authorize4: allow")},
	}} {
		t.Run(s.name, s.run)
	}
}

// Priority is reject, hard permit, soft permit; a reject ends the chain.
func TestSeveralPrograms(t *testing.T) {
	soft := attached{"soft", authorize4, returns(proceedSoft), 0}
	hard := attached{"hard", authorize4, returns(proceedHard), 0}
	rej := attached{"reject", authorize4, returns(reject), 0}
	for _, test := range []struct {
		order []attached
		want  string
	}{
		{[]attached{soft, hard}, "allow-hard | soft: allow, hard: allow-hard"},
		{[]attached{hard, soft}, "allow-hard | hard: allow-hard, soft: allow"},
		{[]attached{soft, rej}, "deny | soft: allow, reject: deny"},
		{[]attached{rej, soft}, "deny | reject: deny"},
		{[]attached{hard, rej}, "deny | hard: allow-hard, reject: deny"},
		{[]attached{rej, hard}, "deny | reject: deny"},
		{[]attached{soft, hard, rej}, "deny | soft: allow, hard: allow-hard, reject: deny"},
		{[]attached{soft, rej, hard}, "deny | soft: allow, reject: deny"},
		{[]attached{hard, soft, rej}, "deny | hard: allow-hard, soft: allow, reject: deny"},
		{[]attached{hard, rej, soft}, "deny | hard: allow-hard, reject: deny"},
		{[]attached{rej, soft, hard}, "deny | reject: deny"},
		{[]attached{rej, hard, soft}, "deny | reject: deny"},
	} {
		s := story{attached: test.order, steps: []step{connect(server, test.want)}}
		t.Run(test.want, s.run)
	}
}

// The program named as the one that decided is the first with the verdict that stands,
// at the last layer that has one.
func TestDecider(t *testing.T) {
	for want, order := range map[string][]attached{
		"soft 1":   {{"redirect", redirect4, returns(proceedSoft), 0}, {"soft 1", authorize4, returns(proceedSoft), 0}, {"soft 2", authorize4, returns(proceedSoft), 0}},
		"hard 1":   {{"soft", authorize4, returns(proceedSoft), 0}, {"hard 1", authorize4, returns(proceedHard), 0}, {"hard 2", authorize4, returns(proceedHard), 0}},
		"redirect": {{"redirect", redirect4, returns(proceedHard), 0}, {"soft", authorize4, returns(proceedSoft), 0}},
		"reject":   {{"hard", authorize4, returns(proceedHard), 0}, {"reject", authorize4, returns(reject), 0}},
	} {
		s := story{attached: order, steps: []step{{func(h *host) string {
			r := to(server)
			_, result := h.hook.Connect(&r)
			return result.Decider().Policy
		}, want}}}
		t.Run(want, s.run)
	}
}

// Programs attached for the connection's compartment come first, in attach order,
// then those attached for any compartment, in attach order.
func TestCompartments(t *testing.T) {
	program := func(name string, compartment uint32) attached {
		return attached{name, authorize4, returns(proceedSoft), compartment}
	}
	any1, any2, five1, five2, six := program("any 1", anyCompartment), program("any 2", anyCompartment), program("five 1", 5), program("five 2", 5), program("six", 6)
	for _, s := range []story{{
		name:     "any attached first",
		attached: []attached{any1, five1, six, any2, five2},
		steps: []step{
			connectIn(5, server, "allow | five 1: allow, five 2: allow, any 1: allow, any 2: allow"),
			connectIn(6, server, "allow | six: allow, any 1: allow, any 2: allow"),
			connectIn(7, server, "allow | any 1: allow, any 2: allow"),
			connect(server, "allow | any 1: allow, any 2: allow"),
		},
	}, {
		name:     "any attached last",
		attached: []attached{five2, six, five1, any2, any1},
		steps: []step{
			connectIn(5, server, "allow | five 2: allow, five 1: allow, any 2: allow, any 1: allow"),
			connectIn(6, server, "allow | six: allow, any 2: allow, any 1: allow"),
		},
	}, {
		name:     "a reject for the compartment stops those for any",
		attached: []attached{any1, {"reject in five", authorize4, returns(reject), 5}},
		steps: []step{
			connectIn(5, server, "deny | reject in five: deny"),
			connectIn(6, server, "allow | any 1: allow"),
		},
	}, {
		name: "the order holds at the redirect layer",
		attached: []attached{
			{"redirect any", redirect4, returns(proceedSoft), 0}, {"redirect five", redirect4, returns(proceedSoft), 5},
		},
		steps: []step{connectIn(5, server, "allow | redirect five: allow, redirect any: allow")},
	}} {
		t.Run(s.name, s.run)
	}
}

// Inbound connections of a compartment are judged by one program.
func TestOneAtRecvAccept(t *testing.T) {
	program := func(name string, layer codegen.AttachType, compartment uint32) attached {
		return attached{name, layer, returns(proceedSoft), compartment}
	}
	for _, s := range []story{{
		name:     "for any compartment there is one, at each layer",
		attached: []attached{program("one", recvAccept4, anyCompartment), program("of IPv6", recvAccept6, anyCompartment)},
		steps: []step{
			refuses(program("two", recvAccept4, anyCompartment)),
			accept(server, "allow | one: allow"),
			detach("one"),
			attach(program("two", recvAccept4, anyCompartment)),
			accept(server, "allow | two: allow"),
		},
	}, {
		name:     "for each compartment there is one, before one for any",
		attached: []attached{program("any", recvAccept4, anyCompartment), program("five", recvAccept4, 5), program("six", recvAccept4, 6)},
		steps: []step{
			refuses(program("five again", recvAccept4, 5)),
			accept(server, "allow | any: allow"),
		},
	}, {
		name:     "one for any comes to no other",
		attached: []attached{program("five", recvAccept4, 5)},
		steps:    []step{refuses(program("any", recvAccept4, anyCompartment))},
	}, {
		name:     "an update makes no second one",
		attached: []attached{program("one", recvAccept4, anyCompartment), program("two", authorize4, anyCompartment)},
		steps: []step{
			update("one", recvAccept4, returns(proceedHard)),
			accept(server, "allow-hard | one: allow-hard"),
			{func(h *host) string {
				a := attached{"two", recvAccept4, returns(reject), 0}
				return h.links["two"].Update(a.program()).Error()
			}, "cgroup/recv_accept4: another program is attached there"},
			accept(server, "allow-hard | one: allow-hard"),
		},
	}} {
		t.Run(s.name, s.run)
	}
}

// A link takes part in the chain from Attach to Close; an update keeps its place.
func TestLinks(t *testing.T) {
	one := attached{"one", authorize4, returns(proceedSoft), 0}
	two := attached{"two", authorize4, returns(proceedSoft), 0}
	for _, s := range []story{{
		name:     "update replaces a program in its place",
		attached: []attached{one, two},
		steps: []step{
			update("one", authorize4, returns(proceedHard)),
			connect(server, "allow-hard | one: allow-hard, two: allow"),
			update("one", authorize6, returns(proceedHard)),
			connect(server, "allow | two: allow"),
		},
	}, {
		name:     "close takes it out, attach puts it last",
		attached: []attached{one, two},
		steps: []step{
			detach("one"),
			connect(server, "allow | two: allow"),
			attach(one),
			connect(server, "allow | two: allow, one: allow"),
		},
	}, {
		name:     "a closed link cannot be closed or updated",
		attached: []attached{one},
		steps: []step{
			detach("one"),
			{func(h *host) string { return h.links["one"].Close().Error() }, runtime.ErrClosed.Error()},
			{func(h *host) string { return h.links["one"].Update(one.program()).Error() }, runtime.ErrClosed.Error()},
		},
	}} {
		t.Run(s.name, s.run)
	}
}

// Each connection is judged by the program before an update or by the one after
// it, by both layers' programs of one of them.
func TestUpdateIsAtomic(t *testing.T) {
	program := func(name string, verdict int32) *codegen.Program {
		return &codegen.Program{Policy: name, Functions: []codegen.Function{
			{Name: "redirect", Section: redirect4.Section(), Instructions: returns(proceedSoft)},
			{Name: "authorize", Section: authorize4.Section(), Instructions: returns(verdict)},
		}}
	}
	versions := []*codegen.Program{program("soft", proceedSoft), program("hard", proceedHard)}
	hook := runtime.NewHook(nil)
	link, err := hook.Attach(versions[0], nil)
	require.NoError(t, err)

	var connections sync.WaitGroup
	for range 4 {
		connections.Go(func() {
			for range 500 {
				r := to(server)
				flow, result := hook.Connect(&r)
				flow.Close()
				if told := tell(result); told != "allow | soft: allow, soft: allow" && told != "allow-hard | hard: allow, hard: allow-hard" {
					t.Error(told)
				}
			}
		})
	}
	for i := range 500 {
		require.NoError(t, link.Update(versions[i%2]))
	}
	connections.Wait()
	require.Empty(t, hook.Flows())
}
