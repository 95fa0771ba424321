// Selectors: an echo server with one thread, and a client that waits for OP_CONNECT of many connections at once.
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Arrays;

public final class Nio {
    private static final int CONNECTIONS = 40;
    private static final int ROUNDS = 3;
    private static final int SIZE = 200000;

    private static void serve(InetSocketAddress address) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(address, 128).configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                try {
                    if (key.isAcceptable()) {
                        accept(selector, listener);
                    } else {
                        echo(key);
                    }
                } catch (IOException error) {
                    key.channel().close();
                }
            }
            selector.selectedKeys().clear();
        }
    }

    private static void accept(Selector selector, ServerSocketChannel listener) throws IOException {
        SocketChannel channel = listener.accept();
        if (channel != null) {
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(32768));
        }
    }

    private static void echo(SelectionKey key) throws IOException {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        boolean atEnd = key.isReadable() && channel.read(buffer) < 0;
        buffer.flip();
        channel.write(buffer);
        boolean left = buffer.hasRemaining();
        buffer.compact();
        if (atEnd && !left) {
            channel.close();
        } else {
            boolean full = !buffer.hasRemaining();
            key.interestOps((left ? SelectionKey.OP_WRITE : 0) | (full || atEnd ? 0 : SelectionKey.OP_READ));
        }
    }

    private static final class Conversation {
        final byte[] data;
        final ByteBuffer out;
        final ByteBuffer in = ByteBuffer.allocate(SIZE);

        Conversation(int number) {
            data = Common.bytes(number, SIZE);
            out = ByteBuffer.wrap(data);
        }
    }

    private static void ask(InetSocketAddress address) throws IOException {
        Selector selector = Selector.open();
        for (int number = 0; number < CONNECTIONS; number++) {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.connect(address);
            channel.register(selector, SelectionKey.OP_CONNECT, new Conversation(number));
        }
        int left = CONNECTIONS;
        while (left > 0) {
            Common.check(selector.select(5000) > 0, left + " of " + CONNECTIONS + " connections are stuck");
            for (SelectionKey key : selector.selectedKeys()) {
                left -= proceed(key) ? 1 : 0;
            }
            selector.selectedKeys().clear();
        }
    }

    // Whether the conversation is over.
    private static boolean proceed(SelectionKey key) throws IOException {
        SocketChannel channel = (SocketChannel) key.channel();
        Conversation talk = (Conversation) key.attachment();
        if (key.isConnectable()) {
            Common.check(channel.finishConnect(), "OP_CONNECT without a connection");
            key.interestOps(SelectionKey.OP_WRITE | SelectionKey.OP_READ);
            return false;
        }
        if (key.isWritable()) {
            channel.write(talk.out);
            if (!talk.out.hasRemaining()) {
                key.interestOps(SelectionKey.OP_READ);
            }
        }
        if (key.isReadable()) {
            Common.check(channel.read(talk.in) >= 0, "the connection ended early");
        }
        if (talk.in.hasRemaining()) {
            return false;
        }
        Common.check(Arrays.equals(talk.in.array(), talk.data), "other bytes came back");
        channel.close();
        return true;
    }

    public static void main(String[] words) throws IOException {
        int port = Integer.parseInt(words[2]);
        InetSocketAddress address = new InetSocketAddress(words[1], port);
        switch (words[0]) {
            case "serve" -> serve(address);
            case "hold" -> Common.hold(words[1], port);
            default -> {
                for (int round = 0; round < ROUNDS; round++) {
                    ask(address);
                }
                System.out.println("all right");
            }
        }
    }
}
