//go:build linux || windows

package runtime

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// loaded is a program in the kernel, not yet attached or no longer.
type loaded struct {
	program *codegen.Program
	hook    compiler.Hook // of the policy of an engine
	*ebpf.Collection
	events *ringbuf.Reader // nil where there are none
	done   chan struct{}   // closed when the last event has been read

	mu    sync.Mutex
	known map[uint8]policyOf // policies that an engine has had, by what events have of their generation
}

// newLoaded takes the collection over, unless it fails, and starts to read events.
func newLoaded(program *codegen.Program, collection *ebpf.Collection, opts *KernelOptions) (*loaded, error) {
	l := &loaded{program: program, hook: opts.hook(), Collection: collection, done: make(chan struct{}), known: map[uint8]policyOf{}}
	events := collection.Maps[codegen.EventsMap]
	if events == nil || opts.Event == nil {
		close(l.done)
		return l, nil
	}
	var err error
	if l.events, err = ringbuf.NewReader(events); err != nil {
		return nil, err
	}
	go l.readEvents(opts)
	return l, nil
}

// readEvents hands on events until the reader is closed.
func (l *loaded) readEvents(opts *KernelOptions) {
	defer close(l.done)
	for {
		record, err := l.events.Read()
		if errors.Is(err, ringbuf.ErrFlushed) || errors.Is(err, os.ErrClosed) {
			return
		}
		var event codegen.Event
		if err == nil {
			event, err = codegen.DecodeEvent(record.RawSample)
		}
		var program *codegen.Program
		if err == nil {
			program, err = l.meaning(event.Generation)
		}
		switch {
		case err == nil:
			if max(event.Rule, event.Audit) < len(program.Rules) {
				opts.Event(program, &event)
			}
		case opts.Problem != nil:
			opts.Problem(fmt.Errorf("events: %w", err))
		}
	}
}

// close releases the program after the events it has written.
func (l *loaded) close() {
	if l.events != nil {
		_ = l.events.Flush()
		<-l.done
		_ = l.events.Close()
	}
	l.Collection.Close()
}

// describedBy is an engine that has the rules of a policy.
func describedBy(engine *codegen.Program, t *codegen.Table) (*codegen.Program, error) {
	about, err := t.Description()
	if err != nil {
		return nil, err
	}
	p := *engine
	p.Policy, p.Rules, p.Sets, p.Interfaces = about.Policy, about.Rules, about.Sets, about.Interfaces
	return &p, nil
}

// decisions reads counters by rule index, or those in an engine's table.
func decisions(m *ebpf.Map, rules int) []uint64 {
	counts := make([]uint64, rules)
	if m == nil {
		return counts
	}
	if size := m.ValueSize(); size == codegen.TableValueSize || size == codegen.TablePage {
		if values, err := readTableValue(m, codegen.TableCounters, 8*rules); err == nil {
			copy(counts, codegen.TableCounts(values, rules))
		}
		return counts
	}
	var each []uint64
	for i := range counts {
		if m.Lookup(uint32(i), &each) != nil {
			break
		}
		for _, n := range each {
			counts[i] += n
		}
	}
	return counts
}
