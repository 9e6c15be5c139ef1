// Package codegen turns a decision diagram into eBPF programs and maps for one
// target, and writes and reads them as object files.
package codegen

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// Target is the system a program runs on.
type Target uint8

const (
	Windows Target = iota // eBPF for Windows; also the in-process hook
	Linux
)

func (t Target) String() string {
	if t > Linux {
		return fmt.Sprintf("target-%d", uint8(t))
	}
	return [...]string{"windows", "linux"}[t]
}

// Room is the target's compiler.CompileOptions.Room.
func (t Target) Room() int { return [...]int{compiler.SmallRoom, -1}[t] }

// Program is what one policy becomes on one target. It is plain data: nothing is
// loaded yet.
type Program struct {
	Target    Target
	Policy    string          // the policy's name
	Functions []Function      // the entry points
	Maps      []*ebpf.MapSpec // types carry the target's platform: ebpf.WindowsHash, ebpf.Hash ...
	Rules     []Rule          // by counter key; the last is the default
	// Interfaces are the named interfaces that the host looks up while the program
	// runs; only on Linux. On other targets they are constants.
	Interfaces []Interface
	Sets       []Set
	Build      Build // where the program comes from
}

// Function is one entry point with the local functions it calls.
type Function struct {
	Name    string // symbol, a C identifier
	Section string // attach section, such as cgroup/connect_authorization4
	// Instructions have their jumps resolved: offsets are final, no jump has a
	// reference. Map loads refer to maps by name. Local functions follow the
	// entry point's code, each starting with a symbol; calls refer to them.
	Instructions asm.Instructions
}

// Rule is what a program knows of a rule, for whoever reads counters and events.
type Rule struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict"` // deny, allow or allow-hard
	Audit   bool   `json:"audit,omitempty"`
	Source  string `json:"source,omitempty"` // file:line:col, or ""
}

// Interface is an interface that the policy names.
type Interface struct {
	Name  string `json:"name"`  // in the policy
	Kind  string `json:"kind"`  // alias or name
	Value string `json:"value"` // the host's name for it
}

// Names of the maps of a program.
const (
	CountersMap = "hopgate_counters" // per-CPU array of u64 decisions, by index in Rules
	EventsMap   = "hopgate_events"   // ring buffer of events
)
