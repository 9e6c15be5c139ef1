// Package proof shows that an object is a policy: it decodes the instructions from
// the bytes of the file, executes them on symbols, and compares what comes out with
// the rules. It shares no code with the compiler's diagrams or with the code
// generator; what it has in common with them is the meaning of the conditions
// (compiler.Cond), the layouts of memory and the names of maps.
package proof

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Status is what a check found out.
type Status uint8

const (
	Proved  Status = iota // the object is the policy
	Refuted               // it is not
	Refused               // it has an instruction that is not followed, and that no program of hopgate has
	Tested                // nothing could be shown within the limit; no difference was found on some connections
)

func (s Status) String() string { return [...]string{"proved", "refuted", "refused", "tested"}[s] }

// Result is what a check found out, and how.
type Result struct {
	Status Status
	Reason string // why it is refuted or refused, or could not be proved

	// Counterexample is a connection that shows the difference; nil where the object
	// is wrong as such.
	Counterexample *Counterexample

	Functions int // entry points, or decisions of target linux
	Stages    int // entry points of target linux, which are compared with others
	Nodes     int // tests and effects in the decisions that the instructions make
	Boxes     int // parts of rules that were followed through them
	Steps     int // nodes met on the way
	Idle      int // calls for the network context that nothing after them tests: right, but slow
	Late      int // parts that an early stage of target linux leaves open though it could deny them: right, but later
	Points    int // connections on which policy and object were compared, if tested
	Duration  time.Duration
}

// Summary is what was found out, for a record of it.
func (r *Result) Summary() string {
	if r.Status == Proved && r.Stages > 0 {
		return "decisions proved, stages compared"
	}
	return r.Status.String()
}

// String says what was found out without claiming more.
func (r *Result) String() string {
	switch {
	case r.Status == Proved && r.Stages > 0:
		text := fmt.Sprintf("proved: %d decisions, %d nodes, %d boxes, %d steps; compared with hopgate's own: %d stages around them",
			r.Functions, r.Nodes, r.Boxes, r.Steps, r.Stages)
		if r.Late > 0 {
			text += fmt.Sprintf("; the early stages leave open %d parts of what they could deny", r.Late)
		}
		return text
	case r.Status == Proved:
		return fmt.Sprintf("proved: %d functions, %d nodes, %d boxes, %d steps", r.Functions, r.Nodes, r.Boxes, r.Steps)
	case r.Status != Tested:
		return r.Status.String() + ": " + r.Reason
	}
	return fmt.Sprintf("tested on %d points, not proved: %s", r.Points, r.Reason)
}

// Check compares an object with a policy. The proof of each function may cost so many
// steps, such as DefaultEffort; then connections are tested instead, at as much again at
// most. 0 means no limit. The error is that of a file that is no object.
func Check(p *compiler.Policy, object []byte, limit int) (*Result, error) {
	began := time.Now()
	c := &checker{policy: p, result: &Result{}, effort: newEffort(limit)}
	program, err := codegen.ReadObject("object", object)
	if err != nil {
		return nil, err
	}
	c.program, c.windows = program, program.Target == codegen.Windows
	if len(program.Sets) > len(p.Sets) {
		c.policy = p.WithTables(compiler.DefaultTableRanges)
	}
	functions, err := c.read(object)
	if err == nil {
		err = checkLookups(functions, object, program.Target)
	}
	if err != nil {
		c.result.Status, c.result.Reason = Refuted, err.Error()
	} else {
		c.conclude(functions, limit, func() error { return c.whole(functions) })
	}
	c.result.Duration = time.Since(began)
	return c.result, nil
}

// conclude does a proof and says what came of it.
func (c *checker) conclude(functions []*function, limit int, prove func() error) {
	r := c.result
	err := prove()
	var wrong *errWrong
	var refused *refusal
	switch {
	case err == nil:
		return
	case errors.As(err, &wrong):
		r.Status, r.Reason, r.Counterexample = Refuted, wrong.reason, wrong.seen
		return
	case errors.As(err, &refused) && refused.wrong:
		r.Status, r.Reason = Refuted, refused.Error()
		return
	case errors.Is(err, errEffort) && limit > 0:
		err = fmt.Errorf("%w, of which it had %d", errEffort, limit)
	}
	r.Status, r.Reason = Tested, err.Error()
	if refused != nil {
		r.Status = Refused
	}
	for _, f := range functions {
		if seen := c.sample(f, limit); seen != nil {
			r.Status, r.Reason, r.Counterexample = Refuted, seen.String(), seen
			return
		}
	}
}

// read decodes the functions to be compared with the rules.
func (c *checker) read(object []byte) (functions []*function, err error) {
	if c.windows {
		return readFunctions(object)
	}
	if c.linux, err = readLinux(object); err != nil {
		return nil, err
	}
	return c.linux.decisions, nil
}

// whole proves the object.
func (c *checker) whole(functions []*function) error {
	if err := c.readMaps(); err != nil {
		return err
	}
	if !c.windows {
		return c.wholeLinux(functions)
	}
	want := []codegen.AttachType{codegen.AttachConnectAuthorization4, codegen.AttachConnectAuthorization6}
	if c.policy.Hook == compiler.Accept {
		want = []codegen.AttachType{codegen.AttachRecvAccept4, codegen.AttachRecvAccept6}
	}
	if len(functions) != len(want) {
		return &errWrong{reason: fmt.Sprintf("the object has %d functions, the policy is for %d attach types", len(functions), len(want))}
	}
	for i, f := range functions {
		if f.attach != want[i] {
			return &errWrong{reason: fmt.Sprintf("the object has a function for %s, the policy is for hook %s", f.attach.Section(), c.policy.Hook)}
		}
	}
	return c.each(functions, (*checker).function)
}

// each proves the functions side by side.
func (c *checker) each(functions []*function, prove func(*checker, *function) error) error {
	parts := make([]checker, len(functions))
	errs := make([]error, len(functions))
	var group sync.WaitGroup
	for i, f := range functions {
		parts[i] = *c
		parts[i].result = &Result{}
		group.Go(func() { errs[i] = prove(&parts[i], f) })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		c.result.add(parts[i].result)
	}
	return nil
}

// add counts what was done for a function.
func (r *Result) add(part *Result) {
	r.Functions++
	r.Nodes += part.Nodes
	r.Boxes += part.Boxes
	r.Steps += part.Steps
	r.Idle += part.Idle
	r.Late += part.Late
}

// readMaps learns the maps of the object and checks what they start with.
func (c *checker) readMaps() error {
	for _, m := range c.program.Maps {
		info := mapInfo{name: m.Name, key: int(m.KeySize), entries: uint64(m.MaxEntries)}
		if m.Pinning != ebpf.PinNone {
			return &errWrong{reason: fmt.Sprintf("map `%s` is pinned: another may stand in its place", m.Name)}
		}
		switch {
		case m.Name == codegen.CountersMap:
			info.counters, c.counters = true, true
			if m.Type != c.mapType(ebpf.WindowsPerCPUArray, ebpf.PerCPUArray) || m.KeySize != 4 || m.ValueSize != 8 || int(m.MaxEntries) != len(c.policy.Rules)+1 {
				return &errWrong{reason: "the counters' map is not one counter for each rule and the default"}
			}
		case m.Name == codegen.EventsMap:
			info.events = true
			if m.Type != c.mapType(ebpf.WindowsRingBuf, ebpf.RingBuf) {
				return &errWrong{reason: "the events' map is no ring buffer"}
			}
		case m.Name == codegen.SetsMap:
			if err := c.checkSetsMap(m); err != nil {
				return err
			}
		case !c.windows && slices.Contains(stageMaps, m.Name):
		default:
			if err := c.readSet(m, &info); err != nil {
				return err
			}
		}
		c.maps = append(c.maps, info)
	}
	if !c.windows {
		c.maps = append(c.maps, devices(len(named(c.policy)))...)
	}
	return nil
}

func (c *checker) mapType(windows, linux ebpf.MapType) ebpf.MapType {
	if c.windows {
		return windows
	}
	return linux
}

// readSet checks the table of a set.
func (c *checker) readSet(m *ebpf.MapSpec, info *mapInfo) error {
	for i, s := range c.policy.Sets {
		for _, ipv6 := range []bool{false, true} {
			if m.Name != codegen.SetMapName(s, ipv6) || ipv6 && s.Field != compiler.RemoteAddress {
				continue
			}
			if m.Type != c.mapType(ebpf.WindowsArray, ebpf.Array) {
				return &errWrong{reason: fmt.Sprintf("map `%s` is no array", m.Name)}
			}
			if err := checkContents(s, ipv6, m); err != nil {
				return &errWrong{reason: fmt.Sprintf("map `%s` starts with %v", m.Name, err)}
			}
			info.isSet, info.key, info.setKey = true, tableKey(s, ipv6), uint64(codegen.SetKey(i, ipv6))
			return nil
		}
	}
	return &errWrong{reason: fmt.Sprintf("map `%s` is not known", m.Name)}
}

// checkLookups checks the functions that the entry points call.
func checkLookups(functions []*function, object []byte, target codegen.Target) error {
	seen := map[string]bool{}
	for _, f := range functions {
		for i := range f.code {
			name := f.code[i].callee
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			if err := checkLookup(object, name, target); err != nil {
				return err
			}
		}
	}
	return nil
}

func verdict(n uint64) lang.Verdict { return lang.Verdict(n) }
