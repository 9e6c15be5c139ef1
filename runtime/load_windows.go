package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// loadWindows hands instructions to eBPF for Windows, or has it load a driver that
// was made of them.
func loadWindows(spec *ebpf.CollectionSpec, driver string) (*ebpf.Collection, error) {
	if driver != "" {
		return loadDriver(spec, driver)
	}
	for _, p := range spec.Programs {
		p.AttachType = 0 // bpf() of eBPF for Windows demands zero (sys_bpf_prog_load_attr_t in linux/bpf.h)
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, explainLoad(err)
	}
	return collection, nil
}

// loadDriver loads a native driver, which must have the programs and maps of the
// spec, and fills the maps: a driver has none of their contents.
func loadDriver(spec *ebpf.CollectionSpec, driver string) (*ebpf.Collection, error) {
	if !strings.EqualFold(filepath.Ext(driver), ".sys") {
		return nil, fmt.Errorf("%s is no driver: the name of one ends in .sys", driver)
	}
	// cilium/ebpf, like eBPF for Windows, goes by the extension as it is written.
	driver, err := filepath.Abs(strings.TrimSuffix(driver, filepath.Ext(driver)) + ".sys")
	if err != nil {
		return nil, err
	}
	collection, err := loadCopy(driver)
	if err != nil {
		return nil, fmt.Errorf("%w: loading driver %s (is it signed, and the signer trusted?): %w", ErrKernel, driver, err)
	}
	if err := fill(collection, spec); err != nil {
		collection.Close()
		return nil, fmt.Errorf("driver %s: %w", driver, err)
	}
	return collection, nil
}

// loadCopy loads a copy of a driver. Windows has a driver's file loaded once at a time
// (docs/MultipleLoadNativeModule.md of eBPF for Windows), and what is pinned, or another
// process, may have it loaded already. Copies go when they are no longer loaded.
func loadCopy(driver string) (*ebpf.Collection, error) {
	unlock, err := lockName(driver)
	if err != nil {
		return nil, err
	}
	defer unlock()
	content, err := os.ReadFile(driver)
	if err != nil {
		return nil, err
	}
	dir, prefix := filepath.Dir(driver), strings.TrimSuffix(filepath.Base(driver), ".sys")+".loaded-"
	removeCopies(dir, prefix)
	f, err := os.CreateTemp(dir, prefix+"*.sys")
	if err != nil {
		return nil, err
	}
	defer removeCopies(dir, prefix)
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return ebpf.LoadCollection(f.Name())
}

// removeCopies removes what Windows has not loaded.
func removeCopies(dir, prefix string) {
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if strings.HasPrefix(f.Name(), prefix) {
			_ = os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}

func fill(collection *ebpf.Collection, spec *ebpf.CollectionSpec) error {
	for name := range spec.Programs {
		if p := collection.Programs[name]; p == nil {
			return fmt.Errorf("it has no program `%s`: it was made of another policy, or of another version", name)
		} else if p.Type() != ebpf.WindowsCGroupSockAddr {
			return fmt.Errorf("its program `%s` is of type %s", name, p.Type())
		}
	}
	// Maps that others are put into come after those.
	names := slices.SortedFunc(maps.Keys(spec.Maps), func(a, b string) int {
		return cmp.Or(cmp.Compare(depth(spec.Maps[a]), depth(spec.Maps[b])), strings.Compare(a, b))
	})
	for _, name := range names {
		want, m := spec.Maps[name], collection.Maps[name]
		if m == nil {
			return fmt.Errorf("it has no map `%s`: it was made of another policy, or of another version", name)
		}
		if err := want.Compatible(m); err != nil {
			return fmt.Errorf("its map `%s` is not that of the policy: %w", name, err)
		}
		for _, kv := range want.Contents {
			value := kv.Value
			if inner, ok := value.(string); ok {
				value = collection.Maps[inner]
			}
			if err := m.Put(kv.Key, value); err != nil {
				return fmt.Errorf("%w: filling map `%s`: %w", ErrKernel, name, err)
			}
		}
	}
	return nil
}

// depth is 1 of a map of maps.
func depth(m *ebpf.MapSpec) int {
	if m.InnerMap != nil {
		return 1
	}
	return 0
}

// attachWindows attaches at an attach type, which this host's eBPF for Windows
// knows by its GUID.
func attachWindows(a codegen.AttachType, program *ebpf.Program) (link.Link, error) {
	attach, err := ebpf.WindowsAttachTypeForGUID("{" + a.GUID() + "}")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: this eBPF for Windows does not know %s; version 1.3.0 is the first that does", ErrKernel, a.Section())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKernel, a.Section(), err)
	}
	made, err := link.AttachRawLink(link.RawLinkOptions{Program: program, Attach: attach})
	if err != nil {
		hint := ""
		if hookOf(a) == compiler.Accept {
			hint = ", which takes one program (is another attached?)"
		}
		return nil, fmt.Errorf("%w: attaching at %s%s: %w", ErrKernel, a.Section(), hint, err)
	}
	return made, nil
}

// explainLoad says in words why instructions could not be loaded.
func explainLoad(err error) error {
	verifier := new(ebpf.VerifierError)
	switch {
	case errors.As(err, &verifier) && len(verifier.Log) > 0: // EACCES, which is no missing permission
		return fmt.Errorf("%w: its verifier refuses the program: %w", ErrKernel, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: loading programs takes an administrator: %w", ErrKernel, err)
	case errors.As(err, &verifier), errors.Is(err, ebpf.ErrNotSupported): // of a program with calls cilium/ebpf supposes that those are not
		return fmt.Errorf("%w: it takes no instructions here, or not so many: they must come to less than 32 KB of machine code; a host without the JIT of eBPF for Windows, or with memory integrity on, loads signed drivers only: %w", ErrKernel, err)
	}
	return fmt.Errorf("%w: %w", ErrKernel, err)
}
