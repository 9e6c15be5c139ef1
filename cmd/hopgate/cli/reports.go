//go:build linux || windows

package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hopgate/hopgate/codegen"
)

// reports are what a policy in force has to tell. It must not wait for whoever reads the
// output: what does not fit in here is lost, and decisions are said to be.
type reports struct {
	*console // whose err does not wait either
	o        *kernelOptions
	events   chan decided
	problems chan error
	said     chan []byte   // on standard error
	lost     atomic.Uint64 // events
	printing sync.WaitGroup
}

// patience is how long the end waits for whoever reads the output.
const patience = 2 * time.Second

// startReports prints decisions until close; problems are for the caller to print.
func (c *console) startReports(o *kernelOptions) *reports {
	own := *c
	r := &reports{console: &own, o: o, events: make(chan decided, 1<<14), problems: make(chan error, 64), said: make(chan []byte, 64)}
	own.out, own.err = bufio.NewWriter(c.stdout), unwaiting(r.said)
	r.printing.Go(r.print)
	r.printing.Go(func() { say(c.err, r.said) })
	return r
}

// unwaiting is a writer whose output is dropped where nobody takes it.
type unwaiting chan<- []byte

func (u unwaiting) Write(text []byte) (int, error) {
	select {
	case u <- bytes.Clone(text):
	default:
	}
	return len(text), nil
}

func say(to io.Writer, said <-chan []byte) {
	for text := range said {
		_, _ = to.Write(text) // there is nowhere left to say that this failed
	}
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

// close ends when what is left has been printed, or nobody has read it for long. Nothing
// is told any more.
func (r *reports) close() {
	r.sayLost()
	close(r.events)
	close(r.said)
	printed := make(chan struct{})
	go func() {
		r.printing.Wait()
		close(printed)
	}()
	select {
	case <-printed:
	case <-time.After(patience):
	}
}
