package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

const cgroups = "/sys/fs/cgroup/unified"

// A host is a network namespace in which every IPv4 address is local, and a cgroup
// that this process is in: packets of any flow can be sent, and go nowhere.
type host struct {
	cgroup string
	socket int
}

func newHost(b testing.TB) *host {
	needsRoot(b)
	runtime.LockOSThread() // and never unlock it: the thread ends with its namespace
	require.NoError(b, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	require.NoError(b, err)
	require.NoError(b, netlink.LinkSetUp(lo))
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	require.NoError(b, netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: 255, Scope: unix.RT_SCOPE_HOST}))

	cgroup := filepath.Join(cgroups, fmt.Sprintf("hopgate-bench-%d", os.Getpid()))
	require.NoError(b, os.MkdirAll(cgroup, 0o755))
	join := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o644)
	}
	require.NoError(b, join(cgroup))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	require.NoError(b, err)
	b.Cleanup(func() {
		unix.Close(fd)
		_ = join(cgroups)
		_ = os.Remove(cgroup)
	})
	return &host{cgroup, fd}
}

func needsRoot(b testing.TB) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		b.Fatal("must run as root in CI")
	}
	b.Skip("needs root, to load programs and to make a network namespace")
}

// packet is an IPv4 packet of the request's flow.
func packet(r *compiler.Request) []byte {
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, r.Protocol
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], r.Local.Addr().AsSlice())
	copy(p[16:], r.Remote.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], r.Local.Port())
	binary.BigEndian.PutUint16(p[22:], r.Remote.Port())
	return p
}

func randomRequests(p *compiler.Policy, n int) []compiler.Request {
	rng := rand.New(rand.NewPCG(1, 2))
	random := gen.NewRequests(p)
	var list []compiler.Request
	for len(list) < n {
		r := random.Random(rng)
		if r.Family() == 4 && r.Remote.Addr().Is4() && r.Local.Addr().Is4() && r.Remote.Addr() != netip.IPv4Unspecified() && r.Local.Addr() != netip.IPv4Unspecified() {
			list = append(list, r)
		}
	}
	return list
}
