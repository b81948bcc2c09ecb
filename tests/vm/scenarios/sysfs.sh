# about: without VFIO and IOMMU, by the files of sysfs: consent, a boot, and twenty that are killed
# kernels: cloud-amd64 arm64-16k
# tool: yes
# machine: no-iommu
# vfio: no
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# files: tests/golden/hef/v3_flow_yolov8.hef tests/golden/hef/v3_multi_network.hef
# memory: 768

. "$LAB/killed.sh"
. "$LAB/works.sh"
card=$(card)
check_that "there is no VFIO" test ! -e /dev/vfio
refused_with 3 hailoctl identify
check_said "add --allow-no-iommu"
allow_no_iommu
check_that "the chip boots" hailoctl -v fw-load "$FIRMWARE"
check_said "opened by sysfs"
until_true 30 "the card is closed" closed "$card"
quiet "$card"
shows boot
works
until_true 30 "the card is closed" closed "$card"
# Here no kernel driver stops the card: the guardian does.
killed 20 "$card"
