package runtime

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Stage says what a connection was judged for.
type Stage uint8

const (
	Connecting Stage = iota
	Accepting
	Reauthorizing
)

func (s Stage) String() string { return [...]string{"connect", "accept", "reauthorize"}[s] }

// Result is the hook's decision on a connection.
type Result struct {
	Flow    *Flow
	Stage   Stage
	Request compiler.Request // with the new destination, if it was redirected
	Verdict lang.Verdict
	Calls   []Call // every program that ran, in order
	By      int    // index in Calls of the one that decided, or -1 where none ran
}

// Decider is the call that decided, or nil where no program ran.
func (r *Result) Decider() *Call {
	if r.By < 0 {
		return nil
	}
	return &r.Calls[r.By]
}

// String gives the decision and, on a line each, the calls that led to it.
func (r *Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", r.Stage, r.Request.Remote, r.Verdict)
	for i := range r.Calls {
		mark := ' '
		if i == r.By {
			mark = '*'
		}
		fmt.Fprintf(&b, "\n%c %s", mark, &r.Calls[i])
	}
	return b.String()
}

// Call is one run of one program.
type Call struct {
	Policy   string // the program's name
	Function string
	Layer    codegen.AttachType
	Remote   netip.AddrPort // the remote end it was shown

	Returned uint32       // as the program returned it
	Verdict  lang.Verdict // as the hook took it: Deny for anything but 0, 1 and 2
	Rule     string       // the rule that decided, or "" where the program counts none
	Audit    string       // the audit rule that would have decided, or ""

	Changed bool  // it changed its context
	Blocked bool  // that is why the verdict is Deny
	Err     error // it did not run to its end, and that is why the verdict is Deny
}

// String gives the call on one line.
func (c *Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %s on %s: %s", strings.TrimPrefix(c.Layer.Section(), "cgroup/"), c.Policy, c.Remote, c.Verdict)
	if c.Rule != "" {
		fmt.Fprintf(&b, " by %s", c.Rule)
	}
	if c.Audit != "" {
		fmt.Fprintf(&b, ", audit %s", c.Audit)
	}
	switch {
	case c.Err != nil:
		fmt.Fprintf(&b, " (program failed: %v)", c.Err)
	case c.Blocked:
		b.WriteString(" (changed its read-only context)")
	case c.Returned > uint32(lang.AllowHard):
		fmt.Fprintf(&b, " (returned %d, which is no verdict)", int32(c.Returned))
	}
	return b.String()
}
