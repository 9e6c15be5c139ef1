package runtime

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// InForce gives an error when others have put the program out of force: with the cgroup
// that it was attached to, or by putting theirs in the place of what is pinned.
func (k *Kernel) InForce() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	return k.inForce()
}

func (k *Kernel) inForce() error {
	for _, stage := range stageOrder {
		l := k.links[stage]
		if l == nil {
			continue
		}
		attached, err := l.Info()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrKernel, stage, err)
		}
		if c := attached.Cgroup(); c == nil || c.CgroupId == 0 {
			return fmt.Errorf("the policy is no longer in force: %s has been detached from cgroup %s, as when a cgroup is removed", stage, k.opts.Cgroup)
		}
		own, err := k.now.Programs[stage].Info()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrKernel, stage, err)
		}
		if id, ok := own.ID(); !ok || ebpf.ProgramID(attached.Program) != id {
			return fmt.Errorf("another process has taken over what is attached to cgroup %s", k.opts.Cgroup)
		}
	}
	return nil
}
