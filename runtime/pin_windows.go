package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
)

// pinned is a link or a map.
type pinned interface {
	Pin(path string) error
	Unpin() error
	Close() error
}

var authorizationTypes = []codegen.AttachType{
	codegen.AttachConnectAuthorization4, codegen.AttachConnectAuthorization6, codegen.AttachRecvAccept4, codegen.AttachRecvAccept6,
}

// pinNames are the names under which links and maps are pinned.
func pinNames() []string {
	names := []string{programMap, codegen.CountersMap, codegen.TableMap, codegen.SetsMap, codegen.EventsMap}
	for _, a := range authorizationTypes {
		names = append(names, pinName(a))
	}
	return names
}

func pinName(a codegen.AttachType) string { return path.Base(a.Section()) }

// openPin opens what is pinned at a path of one of the names, or beside it.
func openPin(at string) (pinned, error) {
	name := strings.TrimSuffix(path.Base(at), nextPin)
	if slices.ContainsFunc(authorizationTypes, func(a codegen.AttachType) bool { return pinName(a) == name }) {
		return link.LoadPinnedLink(at, nil)
	}
	return ebpf.LoadPinnedMap(at, nil)
}

func removePin(at string) error {
	object, err := openPin(at)
	if err != nil {
		return err
	}
	return errors.Join(object.Unpin(), object.Close())
}

// nextPin ends the path of what is about to take another's place.
const nextPin = "_next"

// replacePin pins a link or a map in the place of the one at a path. eBPF for Windows has
// no step for that, but takes an object at several paths: who is killed meanwhile leaves
// one of the two at the path or beside it.
func replacePin(object pinned, at string) error {
	if err := settlePin(at); err != nil {
		return err
	}
	if err := object.Pin(at + nextPin); err != nil {
		return err
	}
	if err := removePin(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := object.Pin(at); err != nil {
		return err
	}
	return removePin(at + nextPin)
}

// settlePin ends a replacePin that was cut short.
func settlePin(at string) error {
	next, err := openPin(at + nextPin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer next.Close()
	present, err := openPin(at)
	if errors.Is(err, fs.ErrNotExist) {
		err = next.Pin(at)
	} else if err == nil {
		err = present.Close()
	}
	if err != nil {
		return err
	}
	return removePin(at + nextPin)
}

func settlePins(dir string) error {
	for _, name := range pinNames() {
		if err := settlePin(path.Join(dir, name)); err != nil {
			return fmt.Errorf("%w: pin %s: %w", ErrKernel, path.Join(dir, name), err)
		}
	}
	return nil
}

// Unpin ends what is pinned under a path; what a running process holds stays until
// that ends. The error is fs.ErrNotExist if nothing is pinned there.
func Unpin(dir string) error {
	unlock, err := lockPins(dir)
	if err != nil {
		return err
	}
	defer unlock()
	found := fs.ErrNotExist
	var problems []error
	for _, name := range pinNames() {
		switch err := removePin(path.Join(dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			problems = append(problems, fmt.Errorf("%w: unpinning %s: %w", ErrKernel, path.Join(dir, name), err))
		default:
			found = nil
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return found
}

// isInForce and inForce are for Linux, where programs are replaced before their maps are.
func (*pinnedProgram) isInForce(string) error { return nil }

func (*Kernel) inForce() error { return nil }
