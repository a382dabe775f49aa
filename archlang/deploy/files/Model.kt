package archlang

import android.content.Context
import android.graphics.Bitmap
import java.io.Closeable
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import kotlin.math.min
import kotlin.math.roundToInt
import org.json.JSONArray
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** The model in the app's assets, with what metadata.json says of its inputs and outputs. */
class Model(context: Context, threads: Int = 1) : Closeable {
    data class Result(val index: Int, val label: String, val score: Float)

    /** An input or output; value = scale * (stored - zeroPoint) where it is of integers. */
    private class Tensor(json: JSONObject) {
        val shape = json.getJSONArray("shape").ints()
        val dtype: String = json.getString("dtype")
        val scale = json.getDouble("scale").toFloat()
        val zeroPoint = json.getInt("zero_point")
        val size = shape.fold(1) { product, n -> product * n }
        val buffer: ByteBuffer = ByteBuffer.allocateDirect(size * bytes()).order(ByteOrder.nativeOrder())

        private fun bytes() = when (dtype) {
            "float32" -> 4
            "int8", "uint8" -> 1
            "int16" -> 2
            else -> throw IllegalArgumentException("a tensor of $dtype")
        }

        fun put(value: Float) {
            if (dtype == "float32") {
                buffer.putFloat(value)
                return
            }
            val step = (value / scale).roundToInt() + zeroPoint
            when (dtype) {
                "int8" -> buffer.put(step.coerceIn(-128, 127).toByte())
                "uint8" -> buffer.put(step.coerceIn(0, 255).toByte())
                "int16" -> buffer.putShort(step.coerceIn(-32768, 32767).toShort())
            }
        }

        fun get(): Float = when (dtype) {
            "float32" -> buffer.float
            "int8" -> (buffer.get().toInt() - zeroPoint) * scale
            "uint8" -> ((buffer.get().toInt() and 0xff) - zeroPoint) * scale
            else -> (buffer.short.toInt() - zeroPoint) * scale
        }
    }

    private val metadata = JSONObject(context.assets.open("metadata.json").bufferedReader().use { it.readText() })
    private val input = Tensor(metadata.getJSONArray("inputs").getJSONObject(0))
    private val outputs = metadata.getJSONArray("outputs").let { list -> List(list.length()) { Tensor(list.getJSONObject(it)) } }
    private val mean = metadata.getJSONArray("mean").floats(0f)
    private val std = metadata.getJSONArray("std").floats(255f)
    private val labels = metadata.getJSONArray("labels").let { list -> List(list.length()) { list.getString(it) } }
    private val interpreter = Interpreter(mapped(context), Interpreter.Options().setNumThreads(threads))

    /** The classes of the highest scores in the middle of an image. */
    fun classify(bitmap: Bitmap, count: Int = 5): List<Result> {
        val scores = run(pixels(bitmap))
        val order = scores.indices.sortedByDescending { scores[it] }.take(count)
        return order.map { Result(it, labels.getOrElse(it) { _ -> it.toString() }, scores[it]) }
    }

    /** The first output for one input, height by width by channels, normalised. */
    fun run(values: FloatArray): FloatArray {
        require(values.size == input.size) { "${values.size} values, and the model takes ${input.size}" }
        input.buffer.rewind()
        values.forEach(input::put)
        input.buffer.rewind()
        outputs.forEach { it.buffer.rewind() }
        interpreter.runForMultipleInputsOutputs(arrayOf(input.buffer), outputs.indices.associateWith { outputs[it].buffer })
        val first = outputs[0]
        first.buffer.rewind()
        return FloatArray(first.size) { first.get() }
    }

    override fun close() = interpreter.close()

    /** The largest square of the middle, scaled to the input's size: (pixel - mean) / std. */
    private fun pixels(bitmap: Bitmap): FloatArray {
        val (height, width, channels) = Triple(input.shape[1], input.shape[2], input.shape[3])
        val side = min(bitmap.width, bitmap.height)
        val square = Bitmap.createBitmap(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side)
        val colours = IntArray(height * width)
        Bitmap.createScaledBitmap(square, width, height, true).getPixels(colours, 0, width, 0, 0, width, height)
        return FloatArray(input.size) { i -> normalised(colours[i / channels], i % channels, channels) }
    }

    private fun normalised(colour: Int, channel: Int, channels: Int): Float {
        val (red, green, blue) = Triple(colour shr 16 and 0xff, colour shr 8 and 0xff, colour and 0xff)
        val value = if (channels == 1) 0.299f * red + 0.587f * green + 0.114f * blue else listOf(red, green, blue)[channel].toFloat()
        return (value - mean[channel % mean.size]) / std[channel % std.size]
    }

    private fun mapped(context: Context): ByteBuffer = context.assets.openFd("model.tflite").use { file ->
        FileInputStream(file.fileDescriptor).channel.use {
            it.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }
    }
}

private fun JSONArray.ints() = IntArray(length()) { getInt(it) }

private fun JSONArray.floats(otherwise: Float) =
    if (length() == 0) floatArrayOf(otherwise) else FloatArray(length()) { getDouble(it).toFloat() }
