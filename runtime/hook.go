// Package runtime puts programs in force.
//
// Hook is the authorization hook in process: a model of how eBPF for Windows and
// the Windows Filtering Platform take a connection through the redirect layer,
// route selection and the authorization layer, and of how they judge it again.
// Instance is one loaded program without a hook around it, for whoever only wants
// its answers.
package runtime

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// ContextChange says what becomes of a connection when an authorization program
// writes to its context, which is read-only there.
type ContextChange uint8

const (
	BlockOnChange ContextChange = iota // the connection is blocked, whatever the program returned
	DiscardChange                      // the change is dropped and the verdict stands, as later eBPF for Windows releases do
)

// HookOptions configures a Hook; the zero value is a useful one.
type HookOptions struct {
	ContextChange ContextChange

	// AuthorizeOnce authorizes a redirected connection for its new destination
	// only. Windows may do it either way; the default is the harder one for a
	// program, which is called for the original destination first.
	AuthorizeOnce bool

	// ForgetRedirect judges a live connection again without the redirect programs'
	// verdict. It is kept for the connection by the documents; the driver of eBPF for
	// Windows (August 2026) gives it to the first authorization and forgets it.
	ForgetRedirect bool

	// Process is who opens the connections.
	Process Process
}

// Hook is the authorization hook of one host, in process: the path of a
// connection through the layers of eBPF for Windows and the Windows Filtering
// Platform. Any number of goroutines may use it; decisions are made one by one.
type Hook struct {
	opts HookOptions

	mu     sync.Mutex
	links  []*Link    // in attach order
	flows  []*Flow    // live ones, oldest first
	cookie uint64     // the last given
	call   invocation // of the program that runs
}

// NewHook makes a hook without programs, which lets every connection pass with a
// soft permit.
func NewHook(opts *HookOptions) *Hook {
	h := &Hook{}
	if opts != nil {
		h.opts = *opts
	}
	return h
}

// AttachOptions configures Attach.
type AttachOptions struct {
	Compartment uint32 // the network compartment to attach for; 0 is any
}

// ErrTaken is the error of attaching at recv_accept what Windows would refuse: it takes
// one program for any compartment, beside no other, or one for each.
var ErrTaken = errors.New("another program is attached there")

// ErrClosed is the error of a link that is no longer attached.
var ErrClosed = errors.New("link is closed")

// Link is a program that is attached to a hook.
type Link struct {
	hook        *Hook
	compartment uint32
	instance    *Instance
}

// Attach loads a program and attaches each of its functions at the attach type
// that its section names. Live connections are not judged again until
// Reauthorize.
func (h *Hook) Attach(program *codegen.Program, opts *AttachOptions) (*Link, error) {
	instance, err := Load(program)
	if err != nil {
		return nil, err
	}
	link := &Link{hook: h, instance: instance}
	if opts != nil {
		link.compartment = opts.Compartment
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.suffers(link, instance); err != nil {
		return nil, err
	}
	h.links = append(h.links, link)
	return link, nil
}

// suffers reports whether the others and an instance of a link suffer each other.
func (h *Hook) suffers(link *Link, instance *Instance) error {
	for at, functions := range instance.functions {
		if !layerOf(at).accept {
			continue
		}
		taken := len(functions) > 1
		for _, other := range h.links {
			beside := link.compartment == 0 || link.compartment == other.compartment
			taken = taken || other != link && beside && len(other.instance.functions[at]) > 0
		}
		if taken {
			return fmt.Errorf("%s: %w", at.Section(), ErrTaken)
		}
	}
	return nil
}

// Update replaces the link's program by another in one step: each connection is
// judged by the old or by the new one, and the link keeps its place among the
// others. The new program starts with maps of its own.
func (l *Link) Update(program *codegen.Program) error {
	instance, err := Load(program)
	if err != nil {
		return err
	}
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	if !slices.Contains(l.hook.links, l) {
		return ErrClosed
	}
	if err := l.hook.suffers(l, instance); err != nil {
		return err
	}
	l.instance = instance
	return nil
}

// Close detaches the program. A second Close gives ErrClosed.
func (l *Link) Close() error {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	i := slices.Index(l.hook.links, l)
	if i < 0 {
		return ErrClosed
	}
	l.hook.links = slices.Delete(l.hook.links, i, i+1)
	return nil
}

// Instance is the program that is attached now, with its live maps.
func (l *Link) Instance() *Instance {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	return l.instance
}

// invoke runs one function on what is shown of a flow. The call's context stays in
// h.call until the next.
func (h *Hook) invoke(fn *function, at codegen.AttachType, f *Flow, shown *compiler.Request) (Call, bool) {
	program := fn.instance.Program()
	c := Call{Policy: program.Policy, Function: fn.name, Layer: at, Remote: shown.Remote, Verdict: lang.Deny}
	v := &h.call
	v.cookie, v.process, v.redirectContext = f.cookie, h.opts.Process, f.redirectContext
	if c.Err = v.describe(at, shown); c.Err != nil {
		return c, false
	}
	before := v.context
	var rule, audit int
	if program, c.Returned, rule, audit, c.Err = fn.invoke(v); c.Err != nil {
		return c, false
	}
	c.Policy = program.Policy // of an engine, what was loaded last
	f.redirectContext = v.redirectContext
	c.Verdict, c.Changed = verdictOf(c.Returned), v.context != before
	if rule >= 0 {
		c.Rule = program.Rules[rule].ID
	}
	if audit >= 0 {
		c.Audit = program.Rules[audit].ID
	}
	return c, c.Changed
}
