package runtime

import (
	"cmp"
	"maps"
	"sync"

	"github.com/cilium/ebpf"
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
			one, failed := ebpf.NewCollectionWithOptions(part(map[string]*ebpf.ProgramSpec{name: program}), shared)
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
