/* The reference for f2fcam/publish/spa_pod.py: libspa's own builder makes the pods that the PipeWire sink sends.
 *
 * Prints one line for each, a name and the bytes in hexadecimal: tests/golden/pods.txt holds them for `SIZE` and `RATE`.
 *   gcc -Wall -o /tmp/pods tools/pods.c $(pkg-config --cflags libpipewire-0.3) && /tmp/pods > tests/golden/pods.txt
 */
#include <stdio.h>
#include <stdint.h>
#include <spa/buffer/buffer.h>
#include <spa/buffer/meta.h>
#include <spa/param/buffers.h>
#include <spa/param/video/format-utils.h>
#include <spa/pod/builder.h>

#define SIZE SPA_RECTANGLE(1280, 720)
#define RATE SPA_FRACTION(30, 1)

static void show(const char *name, const struct spa_pod *pod)
{
	const uint8_t *bytes = (const uint8_t *)pod;
	printf("%s ", name);
	for (uint32_t i = 0; i < SPA_POD_SIZE(pod); i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static void format(const char *name, uint32_t pixels)
{
	uint8_t memory[1024];
	struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(memory, sizeof memory);
	show(name, spa_pod_builder_add_object(&builder, SPA_TYPE_OBJECT_Format, SPA_PARAM_EnumFormat,
		SPA_FORMAT_mediaType, SPA_POD_Id(SPA_MEDIA_TYPE_video),
		SPA_FORMAT_mediaSubtype, SPA_POD_Id(SPA_MEDIA_SUBTYPE_raw),
		SPA_FORMAT_VIDEO_format, SPA_POD_Id(pixels),
		SPA_FORMAT_VIDEO_size, SPA_POD_Rectangle(&SIZE),
		SPA_FORMAT_VIDEO_framerate, SPA_POD_CHOICE_RANGE_Fraction(&RATE, &SPA_FRACTION(0, 1), &RATE),
		SPA_FORMAT_VIDEO_colorRange, SPA_POD_Id(SPA_VIDEO_COLOR_RANGE_16_235),
		SPA_FORMAT_VIDEO_colorMatrix, SPA_POD_Id(SPA_VIDEO_COLOR_MATRIX_BT601)));
}

static void buffers(const char *name, int size, int stride)
{
	uint8_t memory[1024];
	struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(memory, sizeof memory);
	show(name, spa_pod_builder_add_object(&builder, SPA_TYPE_OBJECT_ParamBuffers, SPA_PARAM_Buffers,
		SPA_PARAM_BUFFERS_buffers, SPA_POD_CHOICE_RANGE_Int(4, 2, 16),
		SPA_PARAM_BUFFERS_blocks, SPA_POD_Int(1),
		SPA_PARAM_BUFFERS_size, SPA_POD_Int(size),
		SPA_PARAM_BUFFERS_stride, SPA_POD_Int(stride),
		SPA_PARAM_BUFFERS_dataType, SPA_POD_CHOICE_FLAGS_Int(1 << SPA_DATA_MemFd)));
}

int main(void)
{
	uint8_t memory[1024];
	struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(memory, sizeof memory);
	format("format-I420", SPA_VIDEO_FORMAT_I420);
	format("format-YUY2", SPA_VIDEO_FORMAT_YUY2);
	buffers("buffers-I420", 1280 * 720 * 3 / 2, 1280);
	buffers("buffers-YUY2", 1280 * 720 * 2, 1280 * 2);
	show("header", spa_pod_builder_add_object(&builder, SPA_TYPE_OBJECT_ParamMeta, SPA_PARAM_Meta,
		SPA_PARAM_META_type, SPA_POD_Id(SPA_META_Header),
		SPA_PARAM_META_size, SPA_POD_Int(sizeof(struct spa_meta_header))));
	return 0;
}
