package codegen

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// Options says what to generate. The zero value is a program for eBPF for Windows
// with counters.
type Options struct {
	Target     Target
	NoCounters bool // no counter for each rule; the diagram may then be one with MergeRules

	// LeaveReplies leaves UDP datagrams alone that go to a peer which has sent first,
	// on target linux.
	LeaveReplies bool

	// DeviceMap looks devices up in a map that the host keeps, on target linux, for
	// hosts without CAP_PERFMON.
	DeviceMap bool
}

// MaxWindowsInstructions is the size of a program that the interpreter and the JIT
// of eBPF for Windows (ubpf) accept.
const MaxWindowsInstructions = 65536

// Generate turns a diagram into one program for each address family.
func Generate(d *compiler.Diagram, opts *Options) (*Program, error) {
	if opts == nil {
		opts = &Options{}
	}
	switch opts.Target {
	case Windows:
	case Linux:
		return generateLinux(d, opts)
	default:
		return nil, fmt.Errorf("there is no %s", opts.Target)
	}
	for _, g := range []*compiler.Graph{&d.IPv4, &d.IPv6} {
		for i := range g.Nodes {
			if named := g.Nodes[i].Var.Interface; named != nil {
				return nil, fmt.Errorf("interface `%s` is not bound to a LUID, which form code for target windows needs [unbound-interface]", named.Name)
			}
		}
	}
	p := &Program{Target: opts.Target, Policy: d.Policy.Name, Rules: rules(d.Policy), Sets: sets(d.Policy)}
	var err error
	if p.Maps, err = maps(d.Policy, p.Rules, opts); err != nil {
		return nil, err
	}
	names := [2]AttachType{AttachConnectAuthorization4, AttachConnectAuthorization6}
	if d.Policy.Hook == compiler.Accept {
		names = [2]AttachType{AttachRecvAccept4, AttachRecvAccept6}
	}
	var codes [2]asm.Instructions
	var errs [2]error
	var families sync.WaitGroup
	for i := range names {
		families.Go(func() {
			if codes[i], errs[i] = newFunction(d, i == 1, opts).generate(); errs[i] == nil {
				codes[i], errs[i] = withLookups(codes[i], opts.Target)
			}
		})
	}
	families.Wait()
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return nil, err
	}
	for i, attach := range names {
		code, name := codes[i], attach.Section()[len("cgroup/"):]
		if n := slots(code); n > MaxWindowsInstructions {
			return nil, fmt.Errorf("policy `%s` is %w for target windows: %s needs %d instructions, the limit is %d [too-large]: use larger prefixes and ranges, fewer rules, or --no-counters",
				d.Policy.Name, ErrTooLarge, name, n, MaxWindowsInstructions)
		}
		code[0] = code[0].WithSymbol(name)
		p.Functions = append(p.Functions, Function{Name: name, Section: attach.Section(), Instructions: code})
	}
	return p, nil
}

func slots(insns asm.Instructions) int {
	n := 0
	for _, ins := range insns {
		n += int(ins.Size() / asm.InstructionSize)
	}
	return n
}

func rules(p *compiler.Policy) []Rule {
	list := make([]Rule, 0, len(p.Rules)+1)
	for i := range p.Rules {
		r := &p.Rules[i]
		info := Rule{ID: r.ID, Verdict: r.Verdict.String(), Audit: r.Audit}
		if r.Source != nil {
			info.Source = r.Span.String()
		}
		list = append(list, info)
	}
	return append(list, Rule{ID: compiler.DefaultRule, Verdict: p.Default.String()})
}

func maps(p *compiler.Policy, rules []Rule, opts *Options) ([]*ebpf.MapSpec, error) {
	var specs []*ebpf.MapSpec
	if !opts.NoCounters {
		specs = append(specs, &ebpf.MapSpec{
			Name: CountersMap, Type: opts.Target.mapType(ebpf.WindowsPerCPUArray),
			KeySize: 4, ValueSize: 8, MaxEntries: uint32(len(rules)),
		})
	}
	if writesEvents(p) {
		specs = append(specs, &ebpf.MapSpec{Name: EventsMap, Type: opts.Target.mapType(ebpf.WindowsRingBuf), MaxEntries: eventsBytes})
	}
	tables, err := setMaps(p.Sets, opts.Target)
	return append(specs, tables...), err
}

func sets(p *compiler.Policy) []Set {
	var list []Set
	for _, s := range p.Sets {
		list = append(list, Set{s.Name, s.Field})
	}
	return list
}

// eventsBytes is the size of the ring buffer: room for some 2 700 events.
const eventsBytes = 256 << 10

func writesEvents(p *compiler.Policy) bool {
	for i := range p.Rules {
		if p.Rules[i].Log || p.Rules[i].Audit {
			return true
		}
	}
	return false
}

func hasAudit(p *compiler.Policy) bool {
	for i := range p.Rules {
		if p.Rules[i].Audit {
			return true
		}
	}
	return false
}

// sameGraphs reports whether both families decide alike, so that IPv4-mapped
// addresses need no path of their own. Sets of addresses have a map for each.
func sameGraphs(d *compiler.Diagram) bool {
	for i := range d.IPv6.Nodes {
		if v := d.IPv6.Nodes[i].Var; v.Set != nil && v.Set.Field == compiler.RemoteAddress {
			return false
		}
	}
	return d.IPv4.Audit == d.IPv6.Audit && slices.Equal(d.IPv4.Trees, d.IPv6.Trees) && reflect.DeepEqual(d.IPv4.Nodes, d.IPv6.Nodes)
}
