//go:build linux || windows

package cli

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hopgate/hopgate/codegen"
)

// reports are what a policy in force has to tell. It must not wait for whoever reads the
// output: what does not fit in here is lost, and decisions are said to be.
type reports struct {
	*console
	o        *kernelOptions
	events   chan decided
	problems chan error
	lost     atomic.Uint64 // events
	printing sync.WaitGroup
}

// startReports prints decisions until close; problems are for the caller to print.
func (c *console) startReports(o *kernelOptions) *reports {
	r := &reports{console: c, o: o, events: make(chan decided, 1<<14), problems: make(chan error, 64)}
	r.printing.Go(r.print)
	return r
}

func (r *reports) decided(p *codegen.Program, event *codegen.Event) {
	select {
	case r.events <- decided{p, *event}:
	default:
		r.lost.Add(1)
	}
}

func (r *reports) problem(err error) {
	select {
	case r.problems <- err:
	default:
	}
}

// print prints decisions, and says once that it can't.
func (r *reports) print() {
	failing := false
	for event := range r.events {
		err := r.printDecision(r.o, event)
		if err != nil && !failing {
			r.problem(fmt.Errorf("decisions cannot be printed: %w", err))
		}
		failing = err != nil
	}
}

func (r *reports) sayLost() {
	if n := r.lost.Swap(0); n > 0 {
		fmt.Fprintf(r.err, "hopgate: %d decisions were not printed: they came faster than they could be\n", n)
	}
}

// close ends when what is left has been printed. Nothing is told any more.
func (r *reports) close() {
	r.sayLost()
	close(r.events)
	r.printing.Wait()
}
