package runtime

import (
	"errors"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// ErrKernel is wrapped by errors that say what this host's kernel refuses.
var ErrKernel = errors.New("the kernel says no")

// ErrNotPinned is wrapped by errors of Linux, and of LoadPinnedTable, that leave the new
// program or policy in force, though what is pinned of it is in part of the one before.
var ErrNotPinned = errors.New("it is in force, but not pinned")

// KernelOptions configures AttachKernel.
type KernelOptions struct {
	// Cgroup is, on Linux, the path of the cgroup v2 directory whose processes, and
	// those of the cgroups below, are judged. Windows judges all processes.
	Cgroup string

	// Driver is, on Windows, the path of a signed driver (.sys) that bpf2c made of
	// the program; "" hands over the program's instructions, which needs a host that
	// takes unsigned ones.
	Driver string

	// Table is the policy of an engine of form table; it is in the engine's maps before
	// anything is attached. Nil for other programs.
	Table *codegen.Table

	// Pin is a directory on a BPF file system (bpffs) that keeps the program in
	// force when the process ends; it is made if need be. A program that is pinned
	// there already is replaced without a gap. On Windows it is a path in the name
	// space of eBPF for Windows, such as hopgate/corp. "" is none.
	Pin string

	// NoConnectStage leaves TCP connections to the egress stage, which drops their
	// packets: for hosts that change routes after the connect stage, as nftables
	// chains of type route do.
	NoConnectStage bool

	// Event is called, one call after the other, for each event that the program
	// writes; nil for nobody.
	Event func(*codegen.Program, *codegen.Event)

	// Problem is called with what goes wrong while the program is in force, such as
	// in following named interfaces; nil for nobody.
	Problem func(error)
}

// hook is that of the policy in an engine's table.
func (o *KernelOptions) hook() compiler.Hook {
	if o.Table == nil {
		return compiler.Connect
	}
	return o.Table.Hook
}

// Status is what is known of a program in force.
type Status struct {
	Policy     string        `json:"policy"`
	Generation int           `json:"generation"` // how many programs have been in force, this one included
	Rules      []RuleStatus  `json:"rules"`
	Stages     []StageStatus `json:"stages"`
}

// RuleStatus is a rule with the number of its decisions, over all generations.
type RuleStatus struct {
	codegen.Rule
	Decisions uint64 `json:"decisions"`
}

// StageStatus is one place where the kernel asks the program.
type StageStatus struct {
	Section  string `json:"section"`
	Program  uint32 `json:"program"` // the kernel's id of the program; 0 where none is attached
	Cgroup   uint64 `json:"cgroup"`  // id of the cgroup: the inode number of its directory
	Attached bool   `json:"attached"`
}
