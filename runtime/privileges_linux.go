package runtime

import (
	"strings"

	"golang.org/x/sys/unix"
)

// missingPrivileges names the capabilities that this thread lacks of those that
// attaching programs takes, "" for none.
func missingPrivileges() string {
	var missing []string
	for _, c := range []struct {
		name string
		held bool
	}{
		{"CAP_BPF", holds(unix.CAP_BPF) || holds(unix.CAP_SYS_ADMIN)},
		{"CAP_NET_ADMIN", holds(unix.CAP_NET_ADMIN)},
	} {
		if !c.held {
			missing = append(missing, c.name)
		}
	}
	return strings.Join(missing, ", ")
}

// holds reports whether a capability is in force for this thread.
func holds(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return false
	}
	return sets[capability/32].Effective&(1<<(capability%32)) != 0
}
