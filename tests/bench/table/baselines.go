//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/baseline"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// A rival makes an egress program of a policy its own way.
type rival struct {
	name string
	load func(*compiler.Policy) (*ebpf.Program, time.Duration, error)
}

var chain = rival{"linear chain", func(p *compiler.Policy) (*ebpf.Program, time.Duration, error) {
	code, err := baseline.EgressChain(p)
	if err != nil {
		return nil, 0, err
	}
	spec := &ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: codegen.License, Instructions: code}
	start := time.Now()
	program, err := ebpf.NewProgramWithOptions(spec, measure.Quiet().Programs)
	return program, time.Since(start), err
}}

var clang = rival{"C, clang -O2", func(p *compiler.Policy) (*ebpf.Program, time.Duration, error) {
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
		"Egress, the same packets in turn; each program has been checked against the reference on them. Where a size is the most that the kernel takes, it was found by bisection.",
		"rules", "rival", "size", "refused at", "load, ms", "ns", "hopgate: load, ms", "ns", "times faster to load", "times faster")
	for _, c := range []struct {
		rules string
		rival rival
		most  int
		near  int // the size is found to a part in so many
	}{
		{"acl1_1000", chain, 0, 0}, {"fw1_1000", chain, 0, 0}, {"ipc1_1000", chain, 0, 0},
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
	theirs, theirLoad, err := r.load(p)
	if err != nil {
		return err
	}
	defer theirs.Close()
	compiled, err := measure.Compile(p, codegen.Linux, false, 1)
	if err != nil {
		return err
	}
	loaded, ourLoad, err := compiled.Load("egress", 3)
	if err != nil {
		return err
	}
	defer loaded.Close()
	requests := gen.Traffic(2, p, measure.Flows)
	for i := range requests {
		requests[i].InterfaceType = gen.Loopback
	}
	for _, program := range []*ebpf.Program{theirs, loaded.Programs["egress"]} {
		if err := measure.Agree(program, p, requests[:20_000]); err != nil {
			return err
		}
	}
	nanos, err := measure.OverEmptyEgress(requests, theirs, loaded.Programs["egress"])
	if err != nil {
		return err
	}
	row(name, r.name, number(float64(len(p.Rules))), refused, number(milliseconds(theirLoad)), number(nanos[0]), number(milliseconds(ourLoad)), number(nanos[1]),
		atLeast(float64(theirLoad)/float64(ourLoad), 10), atLeast(nanos[0]/nanos[1], 10))
	return nil
}
