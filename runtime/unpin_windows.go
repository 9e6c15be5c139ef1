package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
)

// Unpin ends what is pinned under a path; what a running process holds stays until
// that ends. The error is fs.ErrNotExist if nothing is pinned there.
func Unpin(dir string) error {
	found := fs.ErrNotExist
	unpin := func(name string, open func(path string) (pinned, error)) error {
		at := path.Join(dir, name)
		object, err := open(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = errors.Join(object.Unpin(), object.Close())
		}
		if err != nil {
			return fmt.Errorf("%w: unpinning %s: %w", ErrKernel, at, err)
		}
		found = nil
		return nil
	}
	openLink := func(at string) (pinned, error) { return link.LoadPinnedLink(at, nil) }
	openMap := func(at string) (pinned, error) { return ebpf.LoadPinnedMap(at, nil) }
	var problems []error
	for _, a := range authorizationTypes {
		problems = append(problems, unpin(path.Base(a.Section()), openLink))
	}
	for _, name := range []string{programMap, codegen.CountersMap, codegen.TableMap, codegen.SetsMap} {
		problems = append(problems, unpin(name, openMap))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return found
}

var authorizationTypes = []codegen.AttachType{
	codegen.AttachConnectAuthorization4, codegen.AttachConnectAuthorization6, codegen.AttachRecvAccept4, codegen.AttachRecvAccept6,
}

// pinned is a link or a map.
type pinned interface {
	Unpin() error
	Close() error
}
