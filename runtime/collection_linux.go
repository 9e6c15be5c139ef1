package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
)

// newCollection loads maps, and then programs side by side: the kernel's verifier
// takes as many at a time as there are processors.
func newCollection(spec *ebpf.CollectionSpec, opts *ebpf.CollectionOptions) (*ebpf.Collection, error) {
	part := func(programs map[string]*ebpf.ProgramSpec) *ebpf.CollectionSpec {
		return &ebpf.CollectionSpec{Maps: spec.Maps, Programs: programs, Types: spec.Types, ByteOrder: spec.ByteOrder}
	}
	all, err := ebpf.NewCollectionWithOptions(part(nil), *opts)
	if err != nil {
		return nil, err
	}
	shared := *opts
	shared.MapReplacements = maps.Clone(all.Maps)
	var lock sync.Mutex
	var loads sync.WaitGroup
	for name, program := range spec.Programs {
		loads.Go(func() {
			one, failed := loadOne(name, part(map[string]*ebpf.ProgramSpec{name: program}), shared)
			lock.Lock()
			defer lock.Unlock()
			if err = cmp.Or(err, failed); failed == nil {
				all.Programs[name] = one.DetachProgram(name)
				one.Close()
			}
		})
	}
	loads.Wait()
	if err != nil {
		all.Close()
		return nil, err
	}
	return all, nil
}

// loadOne loads one program. One that the verifier refuses for its size is not
// shown to it again for its log, which would take long and say nothing.
func loadOne(name string, spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (*ebpf.Collection, error) {
	opts.Programs.LogDisabled = true
	one, err := ebpf.NewCollectionWithOptions(spec, opts)
	switch {
	case err == nil:
		return one, nil
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.EFAULT): // a million steps; 8192 branches at once
		return nil, fmt.Errorf("the policy is %w for its verifier: %s has %d instructions, and on all their paths together it takes a million steps at most [too-large]: %s",
			codegen.ErrTooLarge, name, len(spec.Programs[name].Instructions), codegen.HelpsKernel)
	}
	opts.Programs.LogDisabled = false
	return ebpf.NewCollectionWithOptions(spec, opts)
}
