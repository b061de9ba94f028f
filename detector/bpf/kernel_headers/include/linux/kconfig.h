/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#ifndef DETECTOR_KCONFIG_H
#define DETECTOR_KCONFIG_H
#define CONFIG_BPF_SYSCALL 1
#endif
