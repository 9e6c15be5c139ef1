//go:build linux

package measure

import (
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

// Cost is what a policy costs. Nanoseconds are those over an empty program.
type Cost struct {
	Compile, LoadEgress, LoadAll time.Duration // without counters
	Egress, Connect              float64       // without counters
	Counted                      float64       // egress with counters; 0 if the kernel refuses that
	Instructions                 int           // of egress, without counters
}

// Flows is how many flows programs are asked about, some in each round.
const Flows = 100_000

// Policy measures a policy for IPv4 whose rules are conjunctions.
func Policy(p *compiler.Policy) (*Cost, error) {
	tries := 3
	if len(p.Rules) > 20000 {
		tries = 1
	}
	compiled, err := Compile(p, codegen.Linux, false, tries)
	if err != nil {
		return nil, err
	}
	c := &Cost{Compile: compiled.Took, Instructions: compiled.Instructions("egress")}
	alone, took, err := compiled.Load("egress", tries)
	if err != nil {
		return nil, err
	}
	alone.Close()
	c.LoadEgress = took
	all, took, err := compiled.Load("", tries)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	c.LoadAll = took
	counted, err := Compile(p, codegen.Linux, true, 1)
	if err != nil {
		return nil, err
	}
	programs := []*ebpf.Program{all.Programs["egress"]}
	counting, _, err := counted.Load("egress", 1)
	switch {
	case err == nil:
		defer counting.Close()
		programs = append(programs, counting.Programs["egress"])
	case Refused(err) == "":
		return nil, err
	}
	requests := gen.Traffic(1, p, Flows)
	for _, program := range programs {
		if err := Agree(program, p, requests[:min(len(requests), 10_000_000/(len(p.Rules)+1))]); err != nil {
			return nil, err
		}
	}
	nanos, err := OverEmptyEgress(requests, programs...)
	if err != nil {
		return nil, err
	}
	c.Egress = nanos[0]
	if counting != nil {
		c.Counted = nanos[1]
	}
	to := make([]netip.AddrPort, len(requests))
	for i := range requests {
		to[i] = requests[i].Remote
	}
	nanos, err = OverEmptyConnect(to, all.Programs["connect4"])
	if err != nil {
		return nil, err
	}
	c.Connect = nanos[0]
	return c, nil
}

// OverEmptyEgress is what programs take over an empty one.
func OverEmptyEgress(requests []compiler.Request, programs ...*ebpf.Program) ([]float64, error) {
	empty, err := EmptyEgress()
	if err != nil {
		return nil, err
	}
	defer empty.Close()
	frames := make([][]byte, len(requests))
	for i := range requests {
		frames[i] = Frame(&requests[i])
	}
	return overFirst(append([]*ebpf.Program{empty}, programs...), func(p *ebpf.Program) Batch { return Egress(p, frames) })
}

// OverEmptyConnect is the same for connect programs.
func OverEmptyConnect(to []netip.AddrPort, programs ...*ebpf.Program) ([]float64, error) {
	host, err := NewHost()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	empty, err := EmptyConnect(to[0].Addr().Is6())
	if err != nil {
		return nil, err
	}
	defer empty.Close()
	return overFirst(append([]*ebpf.Program{empty}, programs...), func(p *ebpf.Program) Batch { return host.Connect(p, to) })
}

// overFirst measures programs, and takes what the first takes off the others.
func overFirst(programs []*ebpf.Program, batch func(*ebpf.Program) Batch) ([]float64, error) {
	var batches []Batch
	for _, p := range programs {
		batches = append(batches, batch(p))
	}
	nanos, err := Least(batches...)
	if err != nil {
		return nil, err
	}
	for i := range nanos[1:] {
		nanos[i+1] -= nanos[0]
	}
	return nanos[1:], nil
}
