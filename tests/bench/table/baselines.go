//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/baseline"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// A rival makes a program of a policy its own way, for egress or connect4.
type rival struct {
	name, stage string
	load        func(*compiler.Policy) (*ebpf.Program, time.Duration, error)
}

var chain = rival{"linear chain", "egress", func(p *compiler.Policy) (*ebpf.Program, time.Duration, error) {
	code, err := baseline.EgressChain(p)
	return loadChain(code, err, ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress)
}}

var chain4 = rival{"linear chain", "connect4", func(p *compiler.Policy) (*ebpf.Program, time.Duration, error) {
	code, err := baseline.Connect4Chain(p)
	return loadChain(code, err, ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect)
}}

func loadChain(code asm.Instructions, err error, kind ebpf.ProgramType, attach ebpf.AttachType) (*ebpf.Program, time.Duration, error) {
	if err != nil {
		return nil, 0, err
	}
	spec := &ebpf.ProgramSpec{Type: kind, AttachType: attach, License: codegen.License, Instructions: code}
	start := time.Now()
	program, err := ebpf.NewProgramWithOptions(spec, measure.Quiet().Programs)
	return program, time.Since(start), err
}

var clang = rival{"C, clang -O2", "egress", func(p *compiler.Policy) (*ebpf.Program, time.Duration, error) {
	source, err := gen.C(p, "egress")
	if err != nil {
		return nil, 0, err
	}
	spec, err := baseline.Clang(source)
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	loaded, err := ebpf.NewCollectionWithOptions(spec, measure.Quiet())
	took := time.Since(start)
	if err != nil {
		return nil, took, err
	}
	defer loaded.Close()
	if err := loaded.Maps["interface_types"].Put(uint32(1), uint32(gen.Loopback)); err != nil {
		return nil, 0, err
	}
	program, err := loaded.Programs["egress"].Clone()
	return program, took, err
}}

// baselines compares with a linear chain and with C at a thousand rules and at the
// most that the kernel takes.
func baselines() error {
	section("Against linear programs",
		"Asked the same in turn; each program has been checked against the reference on it. Where a size is the most that the kernel takes, it was found by bisection. "+
			"At connect4 the rules are without their local ends. hopgate's whole program finds the device, knows earlier flows and so on, which rivals do not: with one rule it takes what stands beside; the last column leaves that out.",
		"rules", "stage", "rival", "size", "refused at", "load, ms", "ns", "hopgate: load, ms", "ns", "of which with one rule", "times faster to load", "times faster", "the decision alone")
	for _, c := range []struct {
		rules string
		rival rival
		most  int
		near  int // the size is found to a part in so many
	}{
		{"acl1_1000", chain, 0, 0}, {"fw1_1000", chain, 0, 0}, {"ipc1_1000", chain, 0, 0},
		{"acl1_1000", chain4, 0, 0}, {"ipc1_1000", chain4, 0, 0},
		{"acl1_10000", chain, 9000, 32}, {"fw1_10000", chain, 9000, 32},
		{"acl1_1000", clang, 900, 8}, {"fw1_1000", clang, 700, 8}, {"mixed", clang, 1000, 16},
	} {
		cut, err := firstRules(c.rules)
		if err != nil {
			return err
		}
		n, refused := 0, "-"
		if c.most > 0 {
			if n, refused, err = c.rival.largest(cut, c.most, c.near); err != nil {
				return fmt.Errorf("%s as %s: %w", c.rules, c.rival.name, err)
			}
		}
		policy, err := cut(n)
		if err == nil {
			err = compare(c.rules, policy, c.rival, refused)
		}
		if err != nil {
			return fmt.Errorf("%s as %s: %w", c.rules, c.rival.name, err)
		}
	}
	return nil
}

// firstRules gives policies of the first n rules of a set, or of all for 0.
func firstRules(set string) (func(n int) (*compiler.Policy, error), error) {
	if set == "mixed" {
		return gen.MixedPolicy, nil
	}
	all, err := classbench.Set(set)
	return func(n int) (*compiler.Policy, error) {
		if n == 0 {
			return all, nil
		}
		p := *all
		p.Rules = all.Rules[:n]
		return &p, nil
	}, err
}

// largest finds the largest size that the kernel takes, and why it refuses the next
// that was tried: it doubles until one is refused and then halves the distance.
func (r *rival) largest(cut func(n int) (*compiler.Policy, error), most, near int) (int, string, error) {
	good, bad, why := 0, most+1, "-"
	for n := min(16, most); bad-good > 1+good/near; n = min((good+bad)/2, max(2*good, 16)) {
		policy, err := cut(n)
		if err != nil {
			return 0, "", err
		}
		program, _, err := r.load(policy)
		switch refused := measure.Refused(err); {
		case err == nil:
			program.Close()
			good = n
		case refused != "":
			bad, why = n, fmt.Sprintf("%s: %s", number(float64(n)), refused)
		case errors.Is(err, baseline.ErrTooLarge), errors.Is(err, unix.EINVAL):
			bad, why = n, fmt.Sprintf("%s: jumps or stack beyond what clang has", number(float64(n)))
		default:
			return 0, "", err
		}
	}
	return good, why, nil
}

// compare measures a rival and hopgate on one policy.
func compare(name string, p *compiler.Policy, r rival, refused string) error {
	if r.stage == "connect4" {
		p = withoutLocal(p)
	}
	theirs, theirLoad, err := r.load(p)
	if err != nil {
		return err
	}
	defer theirs.Close()
	ours, ourLoad, err := loadStage(p, r.stage)
	if err != nil {
		return err
	}
	defer ours.Close()
	any, err := classbench.Set("one_rule")
	if err != nil {
		return err
	}
	one, _, err := loadStage(any, r.stage)
	if err != nil {
		return err
	}
	defer one.Close()
	requests := gen.Traffic(2, p, measure.Flows)
	for i := range requests {
		requests[i].InterfaceType = gen.Loopback
	}
	nanos, err := together(r.stage, p, requests, theirs, ours, one)
	if err != nil {
		return err
	}
	row(name, r.stage, r.name, number(float64(len(p.Rules))), refused, number(milliseconds(theirLoad)), number(nanos[0]),
		number(milliseconds(ourLoad)), number(nanos[1]), number(nanos[2]),
		atLeast(float64(theirLoad)/float64(ourLoad), 10), atLeast(nanos[0]/nanos[1], 10), number(nanos[0]/max(nanos[1]-nanos[2], 1)))
	return nil
}

// loadStage loads hopgate's program for one stage.
func loadStage(p *compiler.Policy, stage string) (*ebpf.Program, time.Duration, error) {
	compiled, err := measure.Compile(p, codegen.Linux, false, 1)
	if err != nil {
		return nil, 0, err
	}
	loaded, took, err := compiled.Load(stage, 3)
	if err != nil {
		return nil, 0, err
	}
	defer loaded.Close()
	return loaded.DetachProgram(stage), took, nil
}

// together checks a rival's program and hopgate's, and times them and a third.
func together(stage string, p *compiler.Policy, requests []compiler.Request, theirs, ours, one *ebpf.Program) ([]float64, error) {
	if stage == "egress" {
		for _, program := range []*ebpf.Program{theirs, ours} {
			if err := measure.Agree(program, p, requests[:20_000]); err != nil {
				return nil, err
			}
		}
		return measure.OverEmptyEgress(requests, theirs, ours, one)
	}
	var to []netip.AddrPort
	for i := range requests {
		requests[i].Protocol = unix.IPPROTO_UDP // the sockets are
		to = append(to, requests[i].Remote)
	}
	for _, program := range []*ebpf.Program{theirs, ours} {
		if err := measure.AgreeOnConnect(program, p, requests[:20_000]); err != nil {
			return nil, err
		}
	}
	return measure.OverEmptyConnect(to, theirs, ours, one)
}

// withoutLocal drops what rules say of the local end, which a connect hook does not
// know.
func withoutLocal(p *compiler.Policy) *compiler.Policy {
	q := *p
	q.Rules = slices.Clone(p.Rules)
	for i := range q.Rules {
		all, ok := q.Rules[i].Cond.(compiler.All)
		if !ok {
			continue
		}
		q.Rules[i].Cond = slices.DeleteFunc(slices.Clone(all), func(c compiler.Cond) bool {
			in, ok := c.(compiler.In)
			return ok && (in.Field == compiler.LocalAddress || in.Field == compiler.LocalPort)
		})
	}
	return &q
}
