package runtime

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hopgate/hopgate/codegen"
)

// findInterfaces gives the ifindex of each named interface, 0 for one that is not
// there now.
func findInterfaces(named []codegen.Interface) ([]uint32, error) {
	found := make([]uint32, len(named))
	var problems []error
	for i, n := range named {
		if n.Kind != "alias" && n.Kind != "name" {
			problems = append(problems, fmt.Errorf("interface `%s`: Linux has no interfaces by %s, only by name", n.Name, n.Kind))
			continue
		}
		l, err := netlink.LinkByName(n.Value)
		switch {
		case err == nil:
			found[i] = uint32(l.Attrs().Index)
		case !errors.As(err, &netlink.LinkNotFoundError{}):
			problems = append(problems, fmt.Errorf("interface `%s`: %w", n.Name, err))
		}
	}
	return found, errors.Join(problems...)
}

// follower tells a program of changes of the interfaces it names.
type follower struct {
	stop chan struct{}
	done sync.WaitGroup
}

// followInterfaces starts to follow. What is missed when the kernel drops messages
// is made up for by looking at all named interfaces again.
func followInterfaces(k *Kernel) *follower {
	f := &follower{stop: make(chan struct{})}
	f.done.Add(1)
	go func() {
		defer f.done.Done()
		for {
			err := f.subscribed(k)
			if err == nil {
				return
			}
			k.problem(fmt.Errorf("interfaces: %w; looking at all of them again", err))
			select {
			case <-f.stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return f
}

// subscribed follows until it is stopped, which gives nil, or messages are lost.
func (f *follower) subscribed(k *Kernel) error {
	updates, done, lost := make(chan netlink.LinkUpdate, 64), make(chan struct{}), make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) {
			select {
			case lost <- err:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		close(done)
		for range updates { // until the sender has seen that, and closes
		}
	}()
	for {
		var again <-chan time.Time
		if err := k.refreshInterfaces(); err != nil {
			k.problem(err)
			again = time.After(time.Second)
		}
		select {
		case <-f.stop:
			return nil
		case <-again:
		case err := <-lost:
			return err
		case _, ok := <-updates:
			if !ok {
				return errors.New("netlink closed")
			}
			for more := true; more; {
				select {
				case _, more = <-updates:
				default:
					more = false
				}
			}
		}
	}
}

func (f *follower) close() {
	close(f.stop)
	f.done.Wait()
}
