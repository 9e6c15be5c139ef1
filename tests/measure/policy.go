//go:build linux

package measure

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Compiled is a policy's program, and how long it took from the checked policy to the
// bytes of an object.
type Compiled struct {
	Program *codegen.Program
	Took    time.Duration
}

// Compile takes the best of some tries.
func Compile(p *compiler.Policy, target codegen.Target, counters bool, tries int) (*Compiled, error) {
	c := &Compiled{Took: math.MaxInt64}
	for range tries {
		runtime.GC()
		start := time.Now()
		diagram, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: !counters, Room: target.Room()})
		if err != nil {
			return nil, err
		}
		encoded, err := Encode(diagram, target, counters)
		if err != nil {
			return nil, err
		}
		c.Program, c.Took = encoded.Program, min(c.Took, time.Since(start))
	}
	return c, nil
}

// Encode makes the object of a diagram.
func Encode(d *compiler.Diagram, target codegen.Target, counters bool) (*Compiled, error) {
	program, err := codegen.Generate(d, &codegen.Options{Target: target, NoCounters: !counters})
	if err != nil {
		return nil, err
	}
	return &Compiled{Program: program}, program.WriteELF(&bytes.Buffer{})
}

// Instructions is the size of a function.
func (c *Compiled) Instructions(function string) int {
	for _, f := range c.Program.Functions {
		if f.Name == function {
			return len(f.Instructions)
		}
	}
	return 0
}

// Load loads one stage, or all of them for "", and gives the best time of some tries,
// of which the first reads the kernel's types.
func (c *Compiled) Load(stage string, tries int) (*ebpf.Collection, time.Duration, error) {
	var loaded *ebpf.Collection
	took := time.Duration(math.MaxInt64)
	opts := Quiet()
	opts.Cache = btf.NewCache()
	for range tries {
		spec, err := c.Program.CollectionSpec()
		if err != nil {
			return nil, 0, err
		}
		for name := range spec.Programs {
			if stage != "" && name != stage {
				delete(spec.Programs, name)
			}
		}
		if loaded != nil {
			loaded.Close()
		}
		start := time.Now()
		if loaded, err = ebpf.NewCollectionWithOptions(spec, opts); err != nil {
			return nil, 0, err
		}
		took = min(took, time.Since(start))
	}
	return loaded, took, nil
}

// Quiet leaves a verifier that refuses a program at that: no second try with a log,
// which takes much longer.
func Quiet() ebpf.CollectionOptions {
	return ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogDisabled: true}}
}

// Refused says in words why the kernel's verifier gave up on a program for its size, or
// "" for other errors and none.
func Refused(err error) string {
	switch {
	case errors.Is(err, unix.E2BIG):
		return "a million instructions walked"
	case errors.Is(err, unix.EFAULT):
		return "8 192 branches to come back to"
	}
	return ""
}

// Agree checks that an egress program passes what the reference does not deny.
func Agree(p *ebpf.Program, policy *compiler.Policy, requests []compiler.Request) error {
	for i := range requests {
		pass, err := Pass(p, Frame(&requests[i]))
		if err != nil {
			return err
		}
		if want := policy.Eval(&requests[i]); pass != (want.Verdict != lang.Deny) {
			return fmt.Errorf("%v passes %+v: %t, by the reference %s", p, requests[i], pass, want.Verdict)
		}
	}
	return nil
}

// AgreeOnConnect is the same for a connect4 program: it connects to the requests' remote
// ends.
func AgreeOnConnect(p *ebpf.Program, policy *compiler.Policy, requests []compiler.Request) error {
	host, err := NewHost()
	if err != nil {
		return err
	}
	defer host.Close()
	to := make([]netip.AddrPort, len(requests))
	for i := range requests {
		to[i] = requests[i].Remote
	}
	denied, err := host.Denied(p, to)
	if err != nil {
		return err
	}
	for i := range requests {
		if want := policy.Eval(&requests[i]); denied[i] != (want.Verdict == lang.Deny) {
			return fmt.Errorf("%v denies %+v: %t, by the reference %s", p, requests[i], denied[i], want.Verdict)
		}
	}
	return nil
}
